"""Logs that begin in the middle, were printed twice, or were broken where the kernel broke none."""

from __future__ import annotations

import pytest

from tests.unit.splat.parsed import names, parsed

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


@pytest.mark.parametrize("end", ["^M", "\r", ""])
def test_a_carriage_return_that_a_pager_wrote_out(end: str) -> None:
    log = (
        f"> [ 1198.317139] kernel BUG at mm/slab.c:2535!{end}\n> [ 1198.317140] Call Trace:{end}\n"
    )
    (splat,) = parsed(log)
    assert splat.reason == "kernel BUG at mm/slab.c:2535!"


WRAPPED = """\
[  100.204431] page: refcount:0 mapcount:1 mapping:0000000000000000
index:0x7f00aa1b pfn:0x2b4c1
[  100.204439] flags: 0x100000000080014(uptodate|lru|swapbacked|node=0|zone=1)
[  100.204446] raw: 0100000000080014 dead000000000100 0000000000000000
000000007f00aa1b
[  100.204456] page dumped because: nonzero mapcount
[  100.204499] CPU: 5 UID: 0 PID: 4321 Comm: worker-7 Tainted: G    B
6.8.12-test #3
[  100.204509] Call Trace:
[  100.204513]  dump_stack_lvl+0x41/0x60
[  100.204518]  {printer}+0x76/0xe0
"""


@pytest.mark.parametrize("cut", range(14))
@pytest.mark.parametrize(
    ("printer", "kind"), [("bad_page", "bad_page_state"), ("print_bad_pte", "bad_page_map")]
)
def test_a_wrapped_log_that_begins_in_its_first_stamp(cut: int, printer: str, kind: str) -> None:
    (splat,) = parsed(WRAPPED.format(printer=printer)[cut:])
    assert (splat.kind, splat.pfn, splat.mapcount) == (kind, 0x2B4C1, 1)
    assert (splat.reason, len(splat.raw), splat.unread_count) == ("nonzero mapcount", 4, 0)
    assert splat.time in (None, 100.204431)
    assert names(splat) == ["dump_stack_lvl", printer]


def test_lines_before_the_frame_may_be_broken() -> None:
    log = (
        "> [   11.195388] CPU: 9 PID: 391 Comm: systemd-udevd Tainted: G    B D W\n"
        "> OE     5.16.0-1-MANJARO #1 e53f5ca75f80\n"
        "> [   11.195390] Hardware name: LENOVO 21A0CTO1WW/21A0CTO1WW, BIOS\n"
        "> R1MET43W (1.13 ) 11/05/2021\n> [   11.195391] Call Trace:\n> [   11.195392]  <TASK>\n"
        "> [   11.195393]  dump_stack_lvl+0x48/0x66\n> [   11.195395]  bad_page.cold+0x63/0x94\n"
    )

    (splat,) = parsed(log)

    assert (splat.kind, splat.pid, splat.tainted) == ("bad_page_state", 391, "GBDWOE")
    assert splat.kernel_release == "5.16.0-1-MANJARO"
    assert splat.hardware is not None and splat.hardware.endswith("11/05/2021")


def test_a_report_whose_line_ends_a_web_page_lost_is_read() -> None:
    log = (
        "BUG: Bad page map in process tool pte:800000036fae7227 pmd:35be9c067"
        "addr:00007f3fa75c1000 vm_flags:00200070 anon_vma:(null) mapping:(null) index:7f3fa75c1"
        "Pid: 1312, comm: tool Not tainted 2.6.32-box #1Call Trace: "
        "[<ffffffff815a3570>] print_bad_pte+0x1e2/0x1fb [<ffffffff811063ee>] "
        "vm_normal_page+0x6e/0x80 [<ffffffff81107117>] unmap_vmas+0x5b7/0x9f0"
        "Disabling lock debugging due to kernel taint\n"
    )
    (splat,) = parsed(log)
    assert (splat.pmd, splat.addr, splat.pid) == (0x35BE9C067, 0x7F3FA75C1000, 1312)
    assert splat.kernel_release == "2.6.32-box"
    assert names(splat) == ["print_bad_pte", "vm_normal_page", "unmap_vmas"]


def test_a_headline_that_was_copied_without_its_prefix_has_the_lines_below() -> None:
    lines = [
        "Use-after-free read at 0x00000000b8368693 (in kfence-#52):",
        " drop_thing+0x132/0x270",
        " do_exit+0x76f/0xae0",
        "kfence-#52: 0x0000000060145aab-0x000000008934d0a2, size=568, cache=thing",
        "allocated by task 246 on cpu 0 at 7.425016s:",
        " make_thing+0xdf/0x530",
    ]
    for prefix in ("sty 03 12:44:18 pc kernel: ", "мар 03 12:44:18 pc kernel: "):
        log = "BUG: KFENCE: use-after-free read in drop_thing+0x132/0x270\n"
        (splat,) = parsed(log + "".join(f"{prefix}{line}\n" for line in lines))
        assert names(splat) == ["drop_thing", "do_exit"]


def test_escaped_line_ends_are_no_words() -> None:
    (splat,) = parsed("2024-03-05T09:07:35Z BUG: KFENCE: memory corruption in f+0x1/0x40\\x0a\n")
    assert (splat.reason or "").endswith("in f+0x1/0x40")


def test_flags_above_a_dump_that_begins_at_its_words_are_its() -> None:
    log = """\
[    7.000001] flags: 0xfffffc0000200(workingset|node=0|zone=1)
[    7.000002] raw: 000fffffc0000200 dead000000000100 dead000000000122 0000000000000000
[    7.000003] raw: 0000000000000000 0000000000000000 00000001ffffffff 0000000000000000
[    7.000004] page dumped because: VM_BUG_ON_PAGE(PageTail(page))
[    7.000005] ------------[ cut here ]------------
[    7.000006] kernel BUG at mm/filemap.c:154!
"""
    (splat,) = parsed(log)
    assert (splat.kind, splat.flags) == ("vm_bug_on", ("workingset",))
    (other,) = parsed(log.replace("0xfffffc0000200", "0xfffffc0000300"))
    assert other.flags == ()


@pytest.mark.parametrize(
    "line",
    [
        "INFO: task worker:4321 blocked for more than 120 seconds.",
        "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "WARNING: possible circular locking dependency detected",
        "kswapd0: page allocation failure: order:4, mode:0x40dc0(GFP_KERNEL)",
        "worker invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0",
        "worker[4321]: unhandled signal 11 code 0x1 at 0x0000000000000008 in libc.so.6",
    ],
)
def test_another_report_that_is_no_headline_ends_the_one_above(line: str) -> None:
    log = f"""\
BUG: Bad page state in process worker  pfn:0d5c8
page: refcount:-1 mapcount:0 mapping:0000000000000000 index:0x0 pfn:0xd5c8
page dumped because: nonzero _refcount
{line}
CPU: 3 PID: 4321 Comm: worker Not tainted syzkaller #0
Call Trace:
 schedule+0x37/0x90
"""
    (splat,) = parsed(log)
    assert (splat.reason, splat.cpu, splat.trace) == ("nonzero _refcount", None, ())
    (whole,) = parsed(log.replace(line + "\n", ""))
    assert (whole.kernel_release, names(whole)) == ("syzkaller", ["schedule"])


def test_bare_frames_that_share_a_line_are_several() -> None:
    log = """\
BUG: Bad page state in process worker  pfn:0d5c8
Call Trace: dump_stack+0x1/0x2 bad_page+0x1/0x2 ? maybe+0x3/0x4 [mod] zap+0x5/0x6
"""
    (splat,) = parsed(log)
    assert names(splat) == ["dump_stack", "bad_page", "maybe?", "zap"]
