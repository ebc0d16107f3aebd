"""KASAN, KMSAN, KFENCE, KCSAN, kmemleak, lockdep: stacks without `Call Trace:`, and whose they
are."""

from __future__ import annotations

import pytest

from tests.unit.splat.parsed import names, parsed

HEAD = "[   44.378931][ T77] BUG: "
TASK = """\
[   44.397634][ T77] CPU: 4 PID: 77 Comm: a worker Not tainted 6.6.1-box #3
[   44.398597][ T77] Hardware name: ACME Box
"""


def test_the_page_that_kasan_shows_after_its_trace() -> None:
    log = f"""\
{HEAD}KASAN: use-after-free in foo+0x1/0x2
[   44.378932][ T77] Read of size 1 at addr ffff888028fe8000 by task a worker/77
{TASK}[   44.398600][ T77] Call Trace:
[   44.398601][ T77]  <TASK>
[   44.398602][ T77]  dump_stack_lvl+0x1/0x2
[   44.398603][ T77]  foo+0x1/0x2
[   44.398604][ T77]  </TASK>
[   44.398605][ T77]
[   44.398606][ T77] The buggy address belongs to the physical page:
[   44.398607][ T77] page: refcount:0 mapcount:0 mapping:0000000000000000 index:0x3 pfn:0x28fe8
[   44.398608][ T77] flags: 0xfff00000000000(node=0|zone=1|lastcpupid=0x7ff)
[   44.398609][ T77] raw: 00fff00000000000 ffffea0000a3fa08 ffffea0000a3fa08 0000000000000000
[   44.398610][ T77] raw: 0000000000000003 0000000000000000 00000000ffffffff 0000000000000000
[   44.398611][ T77] page dumped because: kasan: bad access detected
[   44.398612][ T77] page_owner tracks the page as freed
[   44.398613][ T77] page last allocated via order 0, migratetype Movable, gfp_mask 0x1(A), pid 7
[   44.398614][ T77]  post_alloc_hook+0x1/0x2
[   44.398615][ T77]
[   44.398616][ T77] Memory state around the buggy address:
"""
    (splat,) = parsed(log)
    assert (splat.kind, splat.unread_count) == ("other", 0)
    assert (splat.pfn, splat.refcount, splat.mapcount, splat.index) == (0x28FE8, 0, 0, 3)
    assert (splat.flags, len(splat.raw)) == ((), 8)
    assert names(splat) == ["dump_stack_lvl", "foo"]
    owner = splat.page_owner
    assert owner and owner.state == "freed"
    assert owner.allocated
    assert [frame.symbol for frame in owner.allocated.trace] == ["post_alloc_hook"]


@pytest.mark.parametrize(
    ("what", "before", "other"),
    [
        ("KMSAN: uninit-value in foo+0x1/0x2", "", "Uninit was stored to memory at:"),
        (
            "KFENCE: use-after-free read in foo+0x1/0x2",
            "Use-after-free read at 0xffff88823bc8cf68 (in kfence-#69):",
            "kfence-#69 [0xffff88823bc8ce00-0xffff88823bc8cfa7, size=424] allocated by task 9:",
        ),
        (
            "KFENCE: memory corruption in foo+0x1/0x2",
            "Corrupted memory at 0xffff88823bc8cf68 [ 0x1b . . ] (in kfence-#69):",
            "freed by task 9997:",
        ),
        (
            "KCSAN: data-race in foo / bar",
            "read to 0xffffffff85a7f140 of 8 bytes by task 77 on cpu 4:",
            "write (marked) to 0xffffffff85a7f140 of 8 bytes by interrupt on cpu 4:",
        ),
    ],
)
def test_the_first_stack_is_the_reports_and_the_task_comes_last(
    what: str, before: str, other: str
) -> None:
    lines = (before, " foo+0x1/0x2", " caller+0x1/0x2", "", other, " someone_else+0x1/0x2", "")
    stamped = "".join(f"[   44.378932][ T77] {line}\n" for line in lines)
    (splat,) = parsed(f"{HEAD}{what}\n{stamped}{TASK}")
    assert names(splat) == ["foo", "caller"]
    assert (splat.comm, splat.pid, splat.cpu) == ("a worker", 77, 4)
    assert (splat.kernel_release, splat.hardware) == ("6.6.1-box", "ACME Box")


def test_where_lockdep_met_a_state_is_no_trace() -> None:
    log = f"""\
[   44.378931][ T77] WARNING: inconsistent lock state
[   44.378932][ T77] inconsistent {{IN-HARDIRQ-W}} -> {{HARDIRQ-ON-W}} usage.
[   44.378933][ T77] {{IN-HARDIRQ-W}} state was registered at:
[   44.378934][ T77]   lock_acquire+0x1/0x2
[   44.378935][ T77] stack backtrace:
{TASK}[   44.398600][ T77] Call trace:
[   44.398601][ T77]  foo+0x1/0x2
"""
    (splat,) = parsed(log)
    assert names(splat) == ["foo"]


def test_what_kmemleak_shows() -> None:
    log = """\
[   44.378931] BUG: memory leak
[   44.378932] unreferenced object 0xffff8882d78c9ea0 (size 96):
[   44.378933]   comm "syz.0.23", pid 5988, jiffies 4294941388
[   44.378934]   backtrace (crc 1a2b3c4d):
[   44.378935]     foo+0x1/0x2
"""
    (splat,) = parsed(log)
    assert names(splat) == ["foo"]


def test_kasans_page_before_its_task_until_4_8() -> None:
    log = (
        "> BUG: KASan: use after free in vc_do_resize+0x49e/0xb30 at addr ffff88000016b9c0\n"
        "> Read of size 2 by task syz-executor.3/24164\n\nYou should explain why.\n\n"
        "> page:ffffea0000005ac0 count:0 mapcount:0 mapping:          (null) index:0x0\n"
        "> page flags: 0xfffff00000000()\n> page dumped because: kasan: bad access detected\n"
        "> CPU: 0 PID: 24164 Comm: syz-executor.3 Not tainted 3.10.0-862 #2\n> Call Trace:\n"
        ">  [<ffffffffb059f309>] dump_stack+0x1e/0x20\n"
    )

    (splat,) = parsed(log)

    assert (splat.pid, splat.cpu, splat.refcount) == (24164, 0, 0)
    assert names(splat) == ["dump_stack"]


def test_the_frame_of_an_address_on_a_stack_is_no_caller() -> None:
    log = (
        "BUG: KASAN: stack-out-of-bounds in imx_mu_send_data+0x108/0x1f0\n"
        "CPU: 0 PID: 1 Comm: sh Not tainted 5.4.3 #1\nCall trace:\n kthread+0x1/0x2\n\n"
        "addr ffff0008c80e6bc4 is located in stack of task sh/1 at offset 36 in frame:\n"
        " imx_sc_pd_power+0x0/0x1e0\n\nthis frame has 1 object:\n [32, 39) 'msg'\n"
    )

    (splat,) = parsed(log)

    assert names(splat) == ["kthread"]
    assert splat.unread == ()


def test_a_headline_named_above_a_broken_one_is_its_own() -> None:
    whole = "BUG: KASAN: stack-out-of-bounds in imx_mu_send_data+0x108/0x1f0"
    head, _, place = whole.rpartition(" ")
    log = (
        f">> {whole}\n> Can you share the full report?\n\n[    1.659118] {head} \n{place}\n"
        "[    1.666046] CPU: 0 PID: 1 Comm: sh Not tainted 5.4.3 #1\n"
        "[    1.666047] Call trace:\n[    1.666048]  kthread+0x1/0x2\n"
    )

    (splat,) = parsed(log)

    assert (splat.reason, splat.time, splat.pid) == (whole, 1.659118, 1)


def test_a_symbolizers_file_may_stand_in_the_next_line() -> None:
    log = (
        "BUG: KASAN: use-after-free in refcount_inc_not_zero_checked+0x72/0x1e0  \n"
        "lib/refcount.c:123\nCPU: 1 PID: 100 Comm: sh Not tainted 5.4.0 #0\nCall Trace:\n"
        "  p54u_load_firmware_cb.cold+0x97/0x13d  \ndrivers/net/wireless/p54/p54usb.c:936\n"
        "  kthread+0x318/0x420 kernel/kthread.c:255\n"
    )

    (splat,) = parsed(log)

    assert splat.reason == log[: log.index("  \n")] + " lib/refcount.c:123"
    assert [one.source for one in splat.trace] == [
        "drivers/net/wireless/p54/p54usb.c:936",
        "kernel/kthread.c:255",
    ]
    assert splat.unread == ()
