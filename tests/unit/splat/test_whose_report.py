"""The task, CPU and machine of a report, of old kernels and of lines that were broken."""

from __future__ import annotations

import pytest

from tests.unit.splat.parsed import names, parsed


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


def test_blanks_before_hardware_without_a_vendor() -> None:
    log = (
        "kernel BUG at mm/a.c:2!\nCPU: 0 PID: 7 Comm: sh\nHardware name:   BHYVE, BIOS 1.0 03/14\n"
    )
    (splat,) = parsed(log)
    assert splat.hardware == "BHYVE, BIOS 1.0 03/14"


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


BUG = "BUG: Bad page state in process sh  pfn:2b4c1\n"
GAP = "usb 1-1: new device\n"
FRAMES = " dump_stack_lvl+0x1/0x2\n bad_page+0x1/0x2\n free_one+0x1/0x2\n"
AGAIN = " dump_stack_lvl+0x1/0x2\n bad_page+0x1/0x2\n free_two+0x1/0x2\n"


@pytest.mark.parametrize(
    ("log", "frames"),
    [
        (
            f"Call Trace:\n{FRAMES}{GAP} caller+0x1/0x2\n ret_from_fork+0x1/0x2\n",
            ["free_one", "caller", "ret_from_fork"],
        ),
        (f"Call Trace:\n{FRAMES}{GAP}{AGAIN}", ["free_one"]),
        (f"{FRAMES}{GAP} caller+0x1/0x2\n", ["free_one"]),
        (f"Call Trace:\n{GAP} caller+0x1/0x2\n", []),
        (f"Call Trace:\n{FRAMES}{GAP}Modules linked in: a b\n caller+0x1/0x2\n", ["free_one"]),
    ],
    ids=["one line between", "another stack", "no Call Trace:", "none before", "modules"],
)
def test_frames_after_others_lines(log: str, frames: list[str]) -> None:
    """Only what an announced stack lacks can be its own."""
    task = "CPU: 1 PID: 41 Comm: sh Not tainted 6.1.0 #4\nHardware name: ACME\n"
    (splat,) = parsed(BUG + task + log)
    assert [name for name in names(splat) if name not in ("dump_stack_lvl", "bad_page")] == frames


@pytest.mark.parametrize(
    ("reason", "is_its"),
    [
        ("VM_BUG_ON_PAGE(1)", True),
        ("page is not where it was", True),
        ("unmovable page", False),
        ("nonzero mapcount", False),
        (None, False),
    ],
)
def test_which_dumps_are_of_the_bug_that_follows(reason: str | None, is_its: bool) -> None:
    why = f"page dumped because: {reason}\n" if reason else ""
    page = "page: refcount:0 mapcount:1 mapping:0000000000000000 index:0x7 pfn:0x2b4c1\n"
    cut = "------------[ cut here ]------------\nkernel BUG at mm/foo.c:12!\n"
    splat = parsed(page + why + cut)[-1]
    assert splat.pfn == (0x2B4C1 if is_its else None)


def test_a_reason_of_another_kind() -> None:
    (splat,) = parsed(f"{BUG}{GAP}page dumped because: still mapped when deleted\n")
    assert splat.reason is None


OF_BAD_PAGE = (
    "BUG: Bad page state in process sh  pfn:ab000\npage dumped because: nonzero _refcount\n"
    "CPU: 1 PID: 41 Comm: sh Tainted: G    B             5.0.0-test #4\nCall Trace:\n"
    "[c0000000f1234560] [c0000000001a2b3c] dump_stack+0x1/0xf4 (unreliable)\n"
    "[c0000000f12345a0] [c0000000003d5e0c] bad_page+0x2/0x1b0\n"
)


@pytest.mark.parametrize(
    "frame",
    [
        " [<c0155ae4>] zap_pte_range+0x3/0x8f",
        " [<8112a1c7>] ? zap_pte_range+0x3/0x8f",
        " zap_pte_range+0x3/0x8f",
    ],
)
def test_a_frame_of_another_form_after_other_lines_is_another_stacks(frame: str) -> None:
    (splat,) = parsed(f"{OF_BAD_PAGE}usb 1-1: reset\n{frame}\n")

    assert names(splat) == ["dump_stack?", "bad_page"]


def test_a_frame_of_the_same_form_goes_on_after_other_lines() -> None:
    frame = "[c0000000f1234600] [c0000000003d5e2c] free_unref_page+0x3/0x1b0"

    last = "[c0000000f1234680] [c0000000003d5e5c] ret_from_fork+0x3/0x1b0"

    (splat,) = parsed(f"{OF_BAD_PAGE}usb 1-1: reset\n{frame}\n{last}\n")

    assert names(splat) == ["dump_stack?", "bad_page", "free_unref_page", "ret_from_fork"]


def test_an_oops_has_no_stack_that_bad_page_printed() -> None:
    oops = "kernel BUG at mm/memory.c:1!\nCPU: 5 PID: 7 Comm: sh Not tainted 6.8.0 #3\n"
    stack = "Call Trace:\n ? bad_page+0x3/0x160\n ? free_hot_cold_page+0x3/0x220\n"

    (splat,) = parsed(f"{oops}usb 1-1: reset\n{stack}")

    assert (splat.pid, splat.trace) == (7, ())


def test_a_dump_that_stands_alone_takes_no_machine() -> None:
    dump = "page: refcount:0 mapcount:1 mapping:0000000000000000 index:0x77001 pfn:0xab001\n"
    reason = "page dumped because: unmovable page\n"

    (splat,) = parsed(f"{dump}{reason}------------[ cut here ]------------\nHardware name: x\n")

    assert (splat.kind, splat.hardware) == ("page_dump", None)


@pytest.mark.parametrize(
    ("own", "others"),
    [
        (  # the registers of user space end it
            "CPU: 5 PID: 4321 Comm: worker-7 Not tainted 6.8.0\nRIP: 0033:0x7f1122334455",
            "Hardware name: Another\nRIP: 0010:kfree+0x20/0x130\nCall Trace:\n free_it+0x1/0x2",
        ),
        (  # an oops shows its modules before the task, or at once after it
            "CPU: 5 PID: 4321 Comm: worker-7 Not tainted 6.8.0",
            "Modules linked in: one two\nRIP: 0010:kfree+0x20/0x130\nCall Trace:\n free_it+0x1/0x2",
        ),
        (  # the machine's name stands before the registers
            "CPU: 5 PID: 4321 Comm: worker-7 Not tainted 6.8.0\nRIP: 0010:walk_it+0x20/0x130",
            "Hardware name: Another Board",
        ),
    ],
)
def test_lines_after_a_lost_headline_are_left_out(own: str, others: str) -> None:
    head = "worker-7: Corrupted page table at address 7f1122334000\nPGD 800000010a0b0067 PUD 0"
    (splat,) = parsed(f"{head}\n{own}\nusb 1-1: reset\n{others}\n")
    assert (splat.pid, splat.hardware) == (4321, None)
    assert all(frame.symbol == "walk_it" for frame in splat.trace)


def test_words_of_a_page_after_its_owners_are_another_page_s() -> None:
    log = """\
BUG: Bad page state in process worker  pfn:0d5c8
page: refcount:0 mapcount:1 mapping:0000000000000000 index:0x0 pfn:0xd5c8
page last free pid 3999 tgid 3998 stack trace:
 free_it+0x1/0x2
usb 1-1: reset
raw: 0100000000080014 dead000000000122 0000000000000000 000000007f00aa1b
page dumped because: nonzero mapcount
"""
    assert (parsed(log)[0].raw, parsed(log)[0].reason) == ((), None)
