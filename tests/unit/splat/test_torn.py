"""Logs that begin in the middle, were printed twice, or were broken where the kernel broke none."""

from __future__ import annotations

import pytest

from zaptrace.model.splats import Splat
from zaptrace.splat import parse


def names(splat: Splat) -> list[str]:
    """Return the functions of the trace, unreliable ones marked."""
    return [f"{one.symbol}{'' if one.reliable else '?'}" for one in splat.trace]


def parsed(log: str) -> list[Splat]:
    return parse(log.encode())


TAIL = """\
{0}file:libfoo.so fault:ext4_filemap_fault mmap:ext4_file_mmap read_folio:ext4_read_folio
{0}CPU: 2 PID: 4321 Comm: worker-7 Tainted: G    B      O       5.15.9-box #3
{0}Hardware name: ACME Board
{0}Call trace:
{0} dump_backtrace+0x0/0x190
{0} dump_stack+0xcc/0x110
{0} print_bad_pte.llvm.1234567890+0x190/0x1e0
{0} unmap_page_range+0x5b0/0xb80
{0} ? vmacache_find+0x3c/0x80
{0} unmap_region+0x174/0x1f0
"""


@pytest.mark.parametrize(
    "prefix",
    [
        "[  424.879897] ",
        "<4>[  424.879897] ",
        "2024-03-05 09:07:35 --> [  424.879897] ",
        "Mar  5 09:07:35 box kernel: [  424.879897] ",
        "",
    ],
)
def test_a_log_that_begins_in_a_report_holds_it(prefix: str) -> None:
    (splat,) = parsed(TAIL.format(prefix) + f"{prefix}usb 1-1: new device\n")
    assert (splat.kind, splat.comm, splat.pid, splat.cpu) == ("bad_page_map", "worker-7", 4321, 2)
    assert (splat.time, splat.line) == (424.879897 if prefix else None, 1)
    assert (splat.file, splat.tainted, splat.kernel_release) == ("libfoo.so", "GBO", "5.15.9-box")
    assert names(splat)[2:] == [
        "print_bad_pte.llvm.1234567890",
        "unmap_page_range",
        "vmacache_find?",
        "unmap_region",
    ]
    assert (splat.pfn, splat.reason, splat.unread_count) == (None, None, 0)


def test_a_log_that_begins_in_a_stack_holds_its_report() -> None:
    log = """\
Mar  5 09:07:35 b kernel: [90498.772893] [<8011ab9c>] (bad_page) from [<8011bfbc>] (free_a+0x4/0xc)
Mar  5 09:07:35 b kernel: [90498.780771] [<8011bfbc>] (free_a) from [<8011c2c4>] (unmap_b+0x2/0x5)
Mar  5 09:07:36 b kernel: [90499.000001] BUG: Bad page state in process sh  pfn:0d5c8
Mar  5 09:07:36 b kernel: [90499.000002] page:cffa4900 count:-1 mapcount:0 index:0x0
"""
    torn, whole = parsed(log)
    assert (torn.kind, torn.pfn, names(torn)) == ("bad_page_state", None, ["free_a", "unmap_b"])
    assert (whole.pfn, whole.refcount, whole.trace) == (0xD5C8, -1, ())


@pytest.mark.parametrize(
    "line",
    [
        "#5 [ffffb1dd69d5b2a0] bad_page at ffffffff8110ba9b",
        "the stack shows bad_page+0xab/0x100 and then nothing",
        "[    1.000000] my_module: bad_page+0xab/0x100 called",
        "[    1.000000]  not_bad_page+0xab/0x100",
    ],
)
def test_a_mention_of_bad_page_is_no_report(line: str) -> None:
    assert parsed(f"Hello,\n{line}\n") == []


def test_a_dump_whose_headline_has_another_prefix_is_of_that_report() -> None:
    log = """\
root@box:/# [33334.186836] BUG: Bad page state in process worker-7  pfn:03d50
#07-10 02-04#[33334.192955] page:836fcc02 refcount:-1 mapcount:0 mapping:00000000 pfn:0x3d50
#07-10 02-04#[33334.200841] flags: 0x0()
#07-10 02-04#[33334.203381] raw: 00000000 00000100 00000122 00000000 00000000 00000000 ffffffff
#07-10 02-04#[33334.214044] page dumped because: nonzero _refcount
#07-10 02-04#[33334.288885] CPU: 1 PID: 701 Comm: worker-7 Not tainted 5.10.161 #0
"""
    (splat,) = parsed(log)
    assert (splat.kind, splat.line, splat.time) == ("bad_page_state", 1, 33334.186836)
    assert (splat.pfn, splat.refcount, splat.reason) == (0x3D50, -1, "nonzero _refcount")
    assert (splat.pid, splat.cpu, len(splat.raw)) == (701, 1, 7)


DOUBLED = """\
[    9.812496] BUG: Bad page state in process worker-7  pfn:2b4c1
[    9.812502] page:ffff7e80fe565e80 refcount:-1 mapcount:0
mapping:0000000000000000 index:0x1
[    9.844317] flags: 0xdfffe0000000000a(referenced|dirty)
[    9.861091] raw: dfffe00000000000 dead000000000100 dead000000000200
0000000000000000
[    9.890339] raw: 0000000000000001 0000000000000000 ffffffffffffffff
0000000000000000
[    9.913576] page dumped because: nonzero _refcount
[    9.960225] CPU: 9 PID: 701 Comm: worker-7 Not tainted 5.2.0-rc4-
gdc75d8f9 #1
[    9.039542] Call trace:
[    9.044440]  dump_backtrace+0x0/0x140
[    9.065065]  bad_page+0xe8/0x150
[    9.079920]  free_pcppages_bulk+0x430/0x6d8
[    9.099920]  free_unref_page+0x78/0x98
"""


def _doubled(log: str) -> str:
    """Print each line twice, as two consoles do that are one."""
    lines: list[str] = []
    for line in log.splitlines():
        if line.startswith("["):
            lines.append(line)
        else:
            lines[-1] += f"\n{line}"
    return "".join(f"{line}\n{line}\n" for line in lines)


@pytest.mark.parametrize("quote", ["", "> ", ">> "])
def test_a_log_of_which_each_line_stands_twice(quote: str) -> None:
    log = "".join(f"{quote}{line}\n" for line in _doubled(DOUBLED).splitlines())
    (splat,) = parsed(log)
    (once,) = parsed(DOUBLED)
    for one in (splat, once):
        assert (one.pfn, one.refcount, one.index) == (0x2B4C1, -1, 1)
        assert len(one.raw) == 8
        assert one.kernel_release == "5.2.0-rc4-gdc75d8f9"
        assert names(one) == ["dump_backtrace", "bad_page", "free_pcppages_bulk", "free_unref_page"]
        assert one.unread_count == 0


def test_a_stamp_that_lost_its_bracket_behind_quotes() -> None:
    log = """\
>>    87.412596] BUG: Bad rss-counter state mm:(____ptrval____) idx:0 val:-1
>> [   87.412596] BUG: Bad rss-counter state mm:(____ptrval____) idx:0 val:-1
>> [   87.426751] BUG: Bad rss-counter state mm:(____ptrval____) idx:1 val:1
>> [   87.426751] BUG: Bad rss-counter state mm:(____ptrval____) idx:1 val:1
"""
    assert [(one.time, one.rss_value) for one in parsed(log)] == [(87.412596, -1), (87.426751, 1)]


@pytest.mark.parametrize("oops", ["Oops: ", ""])
@pytest.mark.parametrize(
    "trap", ["general protection fault, probably for non-canonical address 0x1", "divide error"]
)
@pytest.mark.parametrize("prefix", ["[    1.000000][   T5] ", "", "> "])
def test_a_trap_is_a_report(oops: str, trap: str, prefix: str) -> None:
    head = f"{oops}{trap}: 0000 [#1] SMP NOPTI"
    (splat,) = parsed(
        f"{prefix}{head}\n{prefix}CPU: 1 UID: 0 PID: 5982 Comm: sh Not tainted 6.12.1 #1\n"
        f"{prefix}RIP: 0010:foo+0x6d/0x80\n{prefix}Call Trace:\n{prefix} bar+0x1/0x2\n"
    )
    assert (splat.kind, splat.reason, splat.pid) == ("other", head, 5982)
    assert names(splat) == ["foo", "bar"]


def test_an_oops_that_follows_its_headline_is_no_other() -> None:
    log = """\
[    1.000000] BUG: unable to handle page fault for address: ffffffffffffffd0
[    1.000001] #PF: supervisor read access in kernel mode
[    1.000002] #PF error: [normal kernel read fault]
[    1.000003] PGD 6683f4067 P4D 6683f4067 PUD 6683f3067 PMD 0
[    1.000004] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI
[    1.000005] CPU: 1 UID: 0 PID: 5982 Comm: sh Not tainted 6.12.1 #1
[    1.000006] RIP: 0010:foo+0x6d/0x80
"""
    (splat,) = parsed(log)
    assert (names(splat), splat.unread_count) == (["foo"], 0)


def test_what_follows_a_headline_is_no_part_of_it() -> None:
    log = """\
> watchdog: BUG: soft lockup - CPU#12 stuck for 23s! [dmcrypt_write/2:2897]
> ...
> CPU: 12 PID: 2897 Comm: dmcrypt_write/2 Tainted: G             L    5.10.0+ #8
"""
    (splat,) = parsed(log)
    assert splat.reason == (
        "watchdog: BUG: soft lockup - CPU#12 stuck for 23s! [dmcrypt_write/2:2897]"
    )
    log = """\
> Unable to handle kernel NULL pointer dereference at virtual address
> 0000000000000008 Call trace:
>  foo+0x34/0x80
>  bar+0x24/0xb8
"""
    (splat,) = parsed(log)
    assert splat.reason == (
        "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008"
    )
    assert names(splat) == ["foo", "bar"]


def test_an_oops_of_old_powerpc() -> None:
    log = """\
Unable to handle kernel paging request for data at address 0x00000000
Faulting instruction address: 0xd107c0c8
Oops: Kernel access of bad area, sig: 11 [#1]
PREEMPT Board
Modules linked in: foo bar [last unloaded: foo]
NIP: d107c0c8 LR: c0072834 CTR: 0fe368a4
REGS: cf9cfe40 TRAP: 0300   Tainted: P         (2.6.25-rc2-00102-g0640ebb)
MSR: 00029000 <EE,ME>  CR: 48242028  XER: 00000007
DEAR: 00000000, ESR: 00800000
TASK = cfa5d000[950] 'sh' THREAD: cf9ce000
NIP [d107c0c8] foo_write+0x8/0x10 [foo]
LR [c0072834] vfs_write+0xcc/0x16c
Call Trace:
[cf9cfef0] [c0072804] vfs_write+0x9c/0x16c (unreliable)
[cf9cff10] [c0072ec8] sys_write+0x4c/0x90
"""
    (splat,) = parsed(log)
    assert splat.reason == "Unable to handle kernel paging request for data at address 0x00000000"
    assert (splat.comm, splat.pid) == ("sh", 950)
    assert (splat.kernel_release, splat.tainted) == ("2.6.25-rc2-00102-g0640ebb", "P")
    assert names(splat) == ["foo_write", "vfs_write?", "sys_write"]


def test_the_cpu_of_an_old_oops() -> None:
    log = """\
[    8.173649] kernel BUG at mm/foo.c:407!
[    8.173649] invalid opcode: 0000 [#1] SMP
[    8.173649] CPU 3
[    8.173649] Modules linked in: foo
[    8.173649] Supported: Yes
[    8.173649]
[    8.173649] Pid: 11, comm: sh Not tainted 3.0.101-63-default #1 ACME Box
[    8.173649] RIP: 0010:[<ffffffffa0076604>]  [<ffffffffa0076604>] foo+0x194/0x1a0 [foo]
"""
    (splat,) = parsed(log)
    assert (splat.cpu, splat.pid, splat.comm, splat.unread_count) == (3, 11, "sh", 0)
    assert splat.kernel_release == "3.0.101-63-default"


def test_the_task_of_a_kasan_report() -> None:
    log = """\
[   60.060980][  T817] BUG: KASAN: slab-use-after-free in foo_handler+0x1/0x2
[   60.062008][  T817] Write of size 8 at addr ffff888170c8ac70 by task kworker/u8:1/817
[   60.063033][  T817]
[   60.063347][  T817] Hardware name: ACME Box
[   60.063356][  T817] Call Trace:
[   60.063361][  T817]  dump_stack_lvl+0x1/0x2
[   60.063399][  T817]  foo_handler+0x1/0x2
"""
    (splat,) = parsed(log)
    assert (splat.comm, splat.pid, splat.unread_count) == ("kworker/u8:1", 817, 0)


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


@pytest.mark.parametrize(
    "line",
    [
        "file:          (null) fault:          (null) mmap:          (null) readpage:  (null)",
        "addr:0000ffff9a9fe000 vm_<8>[   18.949898] <TEST_SIGNAL>",
    ],
)
def test_the_lines_of_a_vma(line: str) -> None:
    log = f"""\
[    1.000000] BUG: Bad page map in process sh  pte:4000000000 pmd:80000000bfb7003
[    1.000001] {line}
[    1.000002] CPU: 0 PID: 7 Comm: sh Not tainted 6.1.1 #1
"""
    (splat,) = parsed(log)
    assert (splat.pid, splat.unread_count) == (7, 1 if line.startswith("addr") else 0)
    assert splat.addr == (0xFFFF9A9FE000 if line.startswith("addr") else None)


def test_a_quoted_report_of_which_only_the_headline_has_a_stamp() -> None:
    log = """\
> Oops: gen[  127.022080][ T5982] Oops: general protection fault: 0000 [#1] SMP
> KASAN: null-ptr-deref in range [0x0000000000000020-0x0000000000000027]
> CPU: 1 UID: 0 PID: 5982 Comm: sh Not tainted 6.12.1 #0
> ...
> Call Trace:
>   <TASK>
>   foo+0x6d/0x80 net/foo.c:197
>   bar net/foo.c:294 [inline]
"""
    (splat,) = parsed(log)
    assert (splat.time, splat.pid, names(splat)) == (127.02208, 5982, ["foo", "bar"])


def test_a_dump_goes_to_the_report_whose_pte_maps_its_page() -> None:
    log = """\
<1>[70895.601454] BUG: Bad page map in process worker-7  pte:05ba4a8d pmd:86149000
<1>[70895.606154] BUG: Bad page map in process pppd  pte:05c28b8f pmd:8604d000
<4>[70895.609099] page:d1553dd9 refcount:0 mapcount:-1 mapping:00000000 index:0x1 pfn:0x5ba4
<4>[70895.615639] page:b2031e65 refcount:2 mapcount:-2 mapping:00000000 index:0x2 pfn:0x5c28
"""
    assert [(one.process, one.pfn, one.mapcount) for one in parsed(log)] == [
        ("worker-7", 0x5BA4, -1),
        ("pppd", 0x5C28, -2),
    ]


def test_a_headline_of_many_lines_is_no_unread_line() -> None:
    log = """\
> Eeek! page_mapcount(page) went negative! (-1)
>   page pfn = 36233
>   page->flags = 40000834
>   page->count = 2
>   page->mapping = c1cfed14
"""
    (splat,) = parsed(log)
    assert (splat.pfn, splat.mapcount, splat.unread_count) == (0x36233, -1, 0)


@pytest.mark.parametrize("level", ["<1>", " <1>", "  <1>"])
def test_a_level_behind_a_daemon_s_name(level: str) -> None:
    log = f"""\
Oct 26 19:25:29 box kernel: {level}Unable to handle kernel paging request at
virtual address 2064656e
Oct 26 19:25:29 box kernel:  printing eip:
Oct 26 19:25:29 box kernel: CPU:    0
"""
    (splat,) = parsed(log)
    assert splat.reason == "Unable to handle kernel paging request at virtual address 2064656e"
    assert splat.cpu == 0


@pytest.mark.parametrize(
    ("prefix", "many"), [("Oct 15 12:41:31 box kernel: ", 3), ("[  12.000001] ", 1), ("", 3)]
)
def test_one_line_reports_in_one_second_are_several(prefix: str, many: int) -> None:
    log = f"{prefix}swap_dup: Bad swap file entry 00000020\n" * 3
    assert len(parsed(log)) == many


def test_a_task_line_without_a_name() -> None:
    log = """\
>>> kernel BUG at mm/slub.c:309!
>>> CPU: 3 PID: 5929 Tainted: G S   W   5.4.96-arm64-desktop #1
>>> pc : __slab_free+0x5c/0x424
"""
    (splat,) = parsed(log)
    assert (splat.cpu, splat.pid, splat.comm, splat.tainted) == (3, 5929, None, "GSW")
    assert (splat.kernel_release, splat.unread_count) == ("5.4.96-arm64-desktop", 0)


def test_hardware_that_was_broken_in_its_version() -> None:
    log = """\
> BUG: Bad page state in process sh  pfn:2b4c1
> page:ffffea000560f2c0 refcount:2 mapcount:0 mapping:000000008544e0ea index:0xf
> page->mem_cgroup:ffff88817287d000
> CPU: 2 PID: 2038 Comm: sh Not tainted 5.8.0-rc1 #44
> Hardware name: QEMU Standard PC (i440FX + PIIX, 1996), BIOS ?-20190727_
>   073836-buildvm-ppc64le-16.ppc.4
> Call Trace:
>  foo+0x1/0x2
"""
    (splat,) = parsed(log)
    assert splat.hardware == (
        "QEMU Standard PC (i440FX + PIIX, 1996), BIOS ?-20190727_073836-buildvm-ppc64le-16.ppc.4"
    )
    assert (splat.memcg, splat.unread_count, names(splat)) == (0xFFFF88817287D000, 0, ["foo"])


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


@pytest.mark.parametrize(
    ("reason", "task"),
    [
        ("BUG: scheduling while atomic: mount.cifs/60057/0x00000002", ("mount.cifs", 60057, None)),
        ("watchdog: BUG: soft lockup - CPU#12 stuck for 23s! [io:w/2:28]", ("io:w/2", 28, 12)),
    ],
)
def test_the_task_of_a_headline(reason: str, task: tuple[str, int, int | None]) -> None:
    (splat,) = parsed(f"[    1.000000] {reason}\n[    1.000001] Hardware name: ACME\n")
    assert (splat.comm, splat.pid, splat.cpu) == task
    assert splat.reason == reason


def test_an_address_that_was_broken_from_its_headline() -> None:
    log = """\
> Unable to handle kernel NULL pointer dereference at virtual address
> 0000000000000008
> Mem abort info:
> pc : foo+0xb4/0x79c
"""
    (splat,) = parsed(log)
    assert splat.reason == (
        "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000008"
    )


def test_code_that_was_broken_is_no_unread_line() -> None:
    log = """\
> kernel BUG at mm/foo.c:98!
> CPU: 1 PID: 17170 Comm: sh Not tainted 5.3.0-rc7+ #0
> RIP: 0010:foo+0xb9/0xbb mm/foo.c:98
> Code: e8 05 c9 c1 ff 49 89 d9 4d 89 e8 4c 89 e1 41 56 48 89 ee 48 c7 c7 00
> f7 cd 85 ff 74 24 08 41 57 48 8b 54 24 20 e8 c6 91 c1 ff <0f> 0b e8 36 f0
> d6 ff e8 a1 90 fd ff 8b 54 24 04 49 89 d8 4c 89 e1
> Call Trace:
>  bar+0x1/0x2
"""
    (splat,) = parsed(log)
    assert (names(splat), splat.unread_count) == (["foo", "bar"], 0)


def test_what_the_last_report_cannot_have_is_another_s_that_is_under_way() -> None:
    log = """\
<1>[70895.601454] BUG: Bad page map in process worker-7  pte:05ba4a8d pmd:86149000
<1>[70895.606154] BUG: Bad page map in process pppd  pte:05c28b8f pmd:8604d000
<4>[70895.609099] page:d1553dd9 refcount:0 mapcount:-1 mapping:00000000 index:0x1 pfn:0x5ba4
<4>[70895.615639] page:b2031e65 refcount:0 mapcount:-1 mapping:00000000 index:0x1 pfn:0x5c28
<4>[70895.623542] flags: 0xa(referenced|dirty)
<4>[70895.623607] page dumped because: bad pte
<4>[70895.631502] flags: 0xb(uptodate)
<1>[70895.635475] addr:00636000 vm_flags:00100077 anon_vma:83777f90 mapping:00000000 index:636
<4>[70895.641871] CPU: 2 PID: 28149 Comm: pppd Tainted: G    B   W         5.10.138 #0
<4>[70895.641872] CPU: 1 PID: 7 Comm: worker-7 Tainted: G    B   W         5.10.138 #0
"""
    first, second = parsed(log)
    assert (first.flags, first.addr, first.pid, first.cpu) == (("uptodate",), 0x636000, 7, 1)
    assert (second.flags, second.reason) == (("referenced", "dirty"), "bad pte")
    assert (second.addr, second.pid, second.cpu) == (None, 28149, 2)


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
    "title",
    [
        "BUG: bad usercopy in io_openat2_prep",
        "general protection fault in foo_bar",
        "BUG: soft lockup in sys_foo (2)",
        "BUG: unable to handle kernel paging request in foo.isra.0",
    ],
)
def test_the_title_of_a_bot_is_no_report(title: str) -> None:
    (splat,) = parsed(f"{title}\n\nkernel BUG at mm/usercopy.c:102!\nCPU: 0 PID: 7 Comm: sh\n")
    assert (splat.line, splat.reason) == (3, "kernel BUG at mm/usercopy.c:102!")


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


@pytest.mark.parametrize("end", ["^M", "\r", ""])
def test_a_carriage_return_that_a_pager_wrote_out(end: str) -> None:
    log = (
        f"> [ 1198.317139] kernel BUG at mm/slab.c:2535!{end}\n> [ 1198.317140] Call Trace:{end}\n"
    )
    (splat,) = parsed(log)
    assert splat.reason == "kernel BUG at mm/slab.c:2535!"


def test_blanks_before_hardware_without_a_vendor() -> None:
    log = (
        "kernel BUG at mm/a.c:2!\nCPU: 0 PID: 7 Comm: sh\nHardware name:   BHYVE, BIOS 1.0 03/14\n"
    )
    (splat,) = parsed(log)
    assert splat.hardware == "BHYVE, BIOS 1.0 03/14"


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


def test_a_cpu_that_a_panic_stops_is_not_the_one_that_panicked() -> None:
    log = """\
[   63.128753] Kernel panic - not syncing: Fatal exception in interrupt
[   63.135040] CPU1: stopping
[   63.137754] CPU: 1 PID: 0 Comm: swapper/1 Tainted: G      D W         5.0.21 #1
[   63.145169] Call trace:
[   63.145170]  handle_IPI+0x1/0x2
"""
    (splat,) = parsed(log)
    assert (splat.cpu, splat.pid, splat.comm, splat.trace) == (None, None, None, ())


def test_a_task_line_that_was_typed_off_a_screen() -> None:
    log = """\
kernel BUG at mm/foo.c:102!
CPU: 0 PID: 42 Comm: sh Trainted: G        T 5.1.0-box #1
"""
    (splat,) = parsed(log)
    assert (splat.comm, splat.tainted, splat.kernel_release) == ("sh", "GT", "5.1.0-box")


def test_the_next_line_is_no_taint() -> None:
    log = """\
>   kernel BUG at mm/foo.c:102!
>   CPU: 3 UID: 0 PID: 2506 Comm: kworker/u16:1 Kdump: loaded Tainted: G    B
>   Hardware name: ...
>   Call Trace:
>    foo+0x1/0x2
"""
    (splat,) = parsed(log)
    assert (splat.tainted, splat.hardware, names(splat)) == ("GB", "...", ["foo"])
