"""Frames of a call trace that were inlined, decoded, glued together or broken."""

from __future__ import annotations

import pytest

from tests.unit.splat.parsed import names, parsed


def test_inlined_frames_of_a_symbolizer_that_keeps_the_addresses() -> None:
    log = """\
BUG: Bad page state in process worker-7  pfn:2b4c1
page:ffffea0006390280 count:0 mapcount:0 mapping:          (null) index:0x1
flags: 0x20000000028000c(referenced|uptodate|swapbacked|mlocked)
page dumped because: PAGE_FLAGS_CHECK_AT_FREE flag(s) set
bad because of flags:
flags: 0x200000(mlocked)
Modules linked in:
CPU: 2 PID: 7107 Comm: worker-7 Not tainted 4.2.0 #670
Call Trace:
 [<     inlined    >] dump_stack+0x63/0x81 __dump_stack lib/dump_stack.c:15
 [<ffffffff81ea1167>] dump_stack+0x63/0x81 lib/dump_stack.c:50
 [<ffffffff811cf435>] bad_page+0x115/0x1a0 mm/page_alloc.c:409
 [<     inline     >] free_pages_check mm/page_alloc.c:731
 [<     inlined    >] ? free_a+0x3f/0x2b0 page_zone include/linux/mm.h:881
 [<ffffffff811d3cff>] ? free_a+0x3f/0x2b0 mm/page_alloc.c:1902
"""
    (splat,) = parsed(log)
    assert names(splat) == [
        "__dump_stack", "dump_stack", "bad_page", "free_pages_check", "page_zone?", "free_a?",
    ]  # fmt: skip
    assert [one.source for one in splat.trace][:2] == ["lib/dump_stack.c:15", "lib/dump_stack.c:50"]
    assert splat.flags == ("referenced", "uptodate", "swapbacked", "mlocked")
    assert splat.unread_count == 0


def test_a_decoded_frame_that_was_broken_before_its_file() -> None:
    log = """\
[    6.448070] kernel BUG at mm/foo.c:12!
[    6.448278] CPU: 6 UID: 0 PID: 385 Comm: sh Not tainted 6.16.0 #1
[    6.448444] Call trace:
[    6.448449] foo (mm/foo.c:12) (P)
[    6.448653] invoke_syscall (arch/arm64/include/asm/current.h:19
arch/arm64/kernel/syscall.c:54)
[    6.448661] el0_svc_common.constprop.0
(include/linux/thread_info.h:135 (discriminator 2)
arch/arm64/kernel/syscall.c:140 (discriminator 2))
[    6.448670] do_el0_svc (arch/arm64/kernel/syscall.c:152)
"""
    (splat,) = parsed(log)
    assert names(splat) == ["foo", "invoke_syscall", "el0_svc_common.constprop.0", "do_el0_svc"]
    assert splat.trace[2].source == "include/linux/thread_info.h:135"
    assert splat.unread_count == 0


def test_inlined_functions_have_a_kasan_headline_each() -> None:
    log = """\
BUG: KASAN: slab-use-after-free in foo_band net/foo.h:1737 [inline]
BUG: KASAN: slab-use-after-free in foo_tim+0x1d7/0x15a0 net/foo.c:5001
Read of size 8 at addr ffff888031b68890 by task sh/15086

CPU: 0 UID: 0 PID: 15086 Comm: sh Not tainted 6.12.1 #0
Call Trace:
 foo_tim+0x1d7/0x15a0 net/foo.c:5001
"""
    (splat,) = parsed(log)
    assert (splat.line, splat.pid) == (1, 15086)
    assert splat.reason == "BUG: KASAN: slab-use-after-free in foo_band net/foo.h:1737 [inline]"


LOCKS = """\
BUG: scheduling while atomic: kworker/4:1/46/0x00000003
5 locks held by kworker/4:1/46:
 #0: ffff0000dfc06738 ((wq_completion)events){+.+.}-{0:0}, at: process_one_work+0x200/0x718
 #1: ffff80001320bdd0 (deferred_probe_work){+.+.}-{0:0}, at:
process_one_work+0x200/0x718
Modules linked in:
CPU: 4 PID: 46 Comm: kworker/4:1 Not tainted 5.9.0-rc2+ #1570
Call trace:
 dump_backtrace+0x0/0x1d0
 __schedule_bug+0x64/0x98
"""


@pytest.mark.parametrize("quote", ["", "> "])
def test_the_locks_that_a_task_holds_are_no_frames(quote: str) -> None:
    (splat,) = parsed("".join(f"{quote}{line}\n" for line in LOCKS.splitlines()))
    assert (splat.comm, splat.pid, splat.cpu) == ("kworker/4:1", 46, 4)
    assert names(splat) == ["dump_backtrace", "__schedule_bug"]


def test_frames_that_were_glued_together() -> None:
    log = """\
2019-09-11 15:41:09     kernel BUG at mm/foo.c:2655!
2019-09-11 15:41:09     CPU: 4 PID: 466 Comm: sh Not tainted 5.2.14 #1
2019-09-11 15:41:09     Call Trace:
2019-09-11 15:41:09     foo_contig+0x270/0x360 [btrfs]
2019-09-11 15:41:09     normal_work_helper+0x20f/0x320
[btrfs]process_one_work+0x18b/0x380worker_thread+0x4f/0x3a0
2019-09-11 15:41:09     ? rescuer_thread+0x330/0x330kthread+0xf8/0x130
2019-09-11 15:41:09     idle_balance+0x1/0x2a0do_idle+0x1e8/0x270cpu_startup_entry+0x1d/0x20
"""
    (splat,) = parsed(log)
    assert names(splat) == [
        "foo_contig", "normal_work_helper", "process_one_work", "worker_thread",
        "rescuer_thread?", "kthread", "idle_balance", "do_idle", "cpu_startup_entry",
    ]  # fmt: skip


def test_a_frame_of_a_small_address() -> None:
    log = """\
[    1.437795] kernel BUG at arch/powerpc/mm/pgtable.c:304!
[    1.437800] Call Trace:
[    1.437805] [c0000001fb6eb9b0] [0000000000000100] 0x100 (unreliable)
[    1.437810] [c0000001fb6eb9f0] [c00000000009bb28] pte_update+0x1/0x2
"""
    (splat,) = parsed(log)
    assert [(one.symbol, one.address, one.reliable) for one in splat.trace] == [
        (None, 0x100, False),
        ("pte_update", 0xC00000000009BB28, True),
    ]


@pytest.mark.parametrize(
    ("registers", "trace", "wanted"),
    [
        (
            ["pc : inlined_a mm/slub.c:5973 [inline]", "pc : outer+0x258/0x260 mm/slub.c:5950"],
            ["outer+0x258/0x260 mm/slub.c:5973", "caller+0x1/0x2"],
            ["inlined_a", "outer", "caller"],
        ),
        (
            ["pc : outer+0x2cc/0x36c mm/slub.c:3103"],
            ["inlined_a mm/slub.c:3103 [inline] (P)", "outer+0x2cc/0x36c mm/slub.c:3097 (P)"],
            ["inlined_a", "outer"],
        ),
        (["pc : outer+0x2cc/0x36c"], ["caller+0x1/0x2"], ["outer", "caller"]),
        (
            ["Krnl PSW : 0404f00180000000 000003339b22f52c outer (mm/a.c:66 mm/b.c:7)"],
            ["outer (mm/a.c:66 mm/b.c:7)", "caller (mm/a.c:5)"],
            ["outer", "caller"],
        ),
    ],
)
def test_the_faulting_function_stands_once(
    registers: list[str], trace: list[str], wanted: list[str]
) -> None:
    lines = ["kernel BUG at mm/slub.c:3071!", "CPU: 1 PID: 7 Comm: sh Not tainted 6.1.1 #1"]
    lines += [*registers, "Call trace:", *(f" {one}" for one in trace)]
    (splat,) = parsed("\n".join(lines))
    assert names(splat) == wanted


def test_inlined_functions_have_a_warning_each() -> None:
    log = """\
------------[ cut here ]------------
WARNING: CPU: 0 PID: 48 at mm/foo.c:3837 count_events include/linux/foo.h:249 [inline]
WARNING: CPU: 0 PID: 48 at mm/foo.c:3837 statistics mm/foo.c:3692 [inline]
WARNING: CPU: 0 PID: 48 at mm/foo.c:3837 outer+0x1d6b/0x1ed0 mm/foo.c:3853
CPU: 0 PID: 48 Comm: sh Not tainted 6.1.0 #0
RIP: 0010:outer+0x1d6b/0x1ed0 mm/foo.c:3853
"""
    (splat,) = parsed(log)
    assert (splat.line, splat.comm, names(splat)) == (2, "sh", ["outer"])
