"""What mails do to a report: answers in its middle, other logs beside it, lines put into one."""

from __future__ import annotations

import pytest

from tests.unit.splat.parsed import names, parsed

PAGE = "page: refcount:0 mapcount:1 mapping:0000000000000000 index:0x7f1 pfn:0x1a2b3"
REASON = "page dumped because: nonzero mapcount"
TASK = "CPU: 3 PID: 55 Comm: sh Not tainted 6.1.0 #1"
FRAMES = ["Call Trace:", " dump_stack+0x1/0x9", " bad_page+0x2/0x9"]
ANSWER = [f"I do not see why: {number} is a number, and nothing more." for number in range(90)]


def _quoted(lines: list[str], quotes: str) -> list[str]:
    return [quotes + line for line in lines]


@pytest.mark.parametrize(("outer", "inner"), [("", "> "), ("> ", "> > "), (">", ">>")])
def test_a_long_answer_in_the_middle_of_a_report_ends_nothing(outer: str, inner: str) -> None:
    lines = [
        *_quoted(["BUG: Bad page state in process sh  pfn:1a2b3", PAGE], inner),
        *_quoted(ANSWER, outer),
        *_quoted([REASON, TASK, *FRAMES], inner),
    ]

    (splat,) = parsed("\n".join(lines) + "\n")

    assert (splat.pid, splat.reason, splat.unread) == (55, "nonzero mapcount", ())
    assert names(splat) == ["dump_stack", "bad_page"]


def test_a_warnings_function_may_stand_below_an_answer() -> None:
    lines = [
        *_quoted(["[    7.000001] WARNING: CPU: 3 PID: 55 at mm/memory.c:2281"], "> > "),
        *_quoted(ANSWER, "> "),
        *_quoted(["wp_page_copy+0x687/0x6e0", f"[    7.000002] {TASK}"], "> > "),
        *_quoted([f"[    7.000003] {line}" for line in FRAMES], "> > "),
    ]

    (splat,) = parsed("\n".join(lines) + "\n")

    assert splat.reason is not None
    assert splat.reason.endswith("mm/memory.c:2281 wp_page_copy+0x687/0x6e0")
    assert (splat.comm, names(splat)) == ("sh", ["dump_stack", "bad_page"])


@pytest.mark.parametrize(
    "whole",
    [
        "Unable to handle kernel NULL pointer dereference at virtual address 00000034",
        "Unable to handle kernel paging request at virtual address fabb801d4000018d",
        "BUG: unable to handle page fault for address: ffff880100100108",
        "WARNING: CPU: 0 PID: 2486 at mm/memory.c:2281 wp_page_copy+0x687/0x6e0",
        "kernel BUG at arch/powerpc/mm/book3s64/radix_pgtable.c:333!",
    ],
)
def test_what_follows_a_whole_headline_is_no_part_of_it(whole: str) -> None:
    (splat,) = parsed(f"{whole}\nusb3503 usb-hub: switched to HUB mode\n{TASK}\n")

    assert splat.reason == whole


def test_a_warning_without_its_function_takes_no_sentence() -> None:
    headline = "[   97.344077] WARNING: CPU: 0 PID: 2486 at mm/memory.c:2281"

    (splat,) = parsed(f"> > {headline}\n> It is hard for me to reproduce it in my machine\n")

    assert splat.reason == headline.partition("] ")[2]


def test_the_rest_of_a_line_may_be_quoted_by_fewer() -> None:
    log = (
        ">>>>> BUG: Bad page state in process sh  pfn:1a2b3\n"
        f">>>>> {PAGE}\n>>>>> CPU: 3 PID: 55 Comm: sh Tainted: G    B             5.7.0-rc6-next-\n"
        "> 20200518-00002-gb178d2d56f29 #1\n>>>>> Call Trace:\n>>>>>  bad_page+0x1/0x2\n"
    )

    (splat,) = parsed(log)

    assert splat.kernel_release == "5.7.0-rc6-next-20200518-00002-gb178d2d56f29"


def test_a_log_in_an_answer_is_another_mails() -> None:
    first = "[   41.213146] Unable to handle kernel paging request at virtual address 00100108"
    lines = [
        f">>> {first}",
        *(f">> [  135.69840{at}] {line}" for at, line in enumerate(["BUG: KASAN: oob in f", TASK])),
        *(f">> [  135.6985{at}0] {line}" for at, line in enumerate(FRAMES)),
        "> It is not aligned.",
        *(f"[   54.04142{at}]  of_another+0x{at}/0x9" for at in range(1, 4)),
        f">>> [   41.290401] {TASK.replace('55', '66')}",
        *(f">>> [   41.2905{at}0] {line}" for at, line in enumerate(FRAMES)),
    ]

    oops, kasan = parsed("\n".join(lines) + "\n")

    assert (oops.pid, names(oops)) == (66, ["dump_stack", "bad_page"])
    assert (kasan.pid, names(kasan)) == (55, ["dump_stack", "bad_page"])


def test_lines_that_a_mailer_put_into_one() -> None:
    words = ["BUG: Bad page state in process sh  pfn:1a2b3", PAGE, REASON, TASK, *FRAMES]
    stamped = [f"[    7.00000{at}] {line}" for at, line in enumerate(words)]
    log = "".join(f"> > {' '.join(stamped[at : at + 2])}\n" for at in range(0, len(words), 2))

    (splat,) = parsed(log)

    assert (splat.mapcount, splat.reason, splat.pid) == (1, "nonzero mapcount", 55)
    assert names(splat) == ["dump_stack", "bad_page"]


def test_a_prompt_before_the_headline_after_a_quoted_log() -> None:
    lines = [
        *_quoted(["[   39.354071] Kernel panic - not syncing: Fatal exception"], "> "),
        "It takes me many more cycles:",
        "1126957 login: [   14.614240] BUG: kernel NULL pointer dereference, address: 0000",
        *(f"[   14.6142{at}1] {line}" for at, line in enumerate([TASK, *FRAMES])),
    ]

    panic, oops = parsed("\n".join(lines) + "\n")

    assert panic.pid is None
    assert (oops.pid, names(oops)) == (55, ["dump_stack", "bad_page"])


def test_functions_inlined_in_a_decoded_frame_of_arm() -> None:
    log = (
        "kernel BUG at mm/memory.c:1!\nCPU: 0 PID: 9 Comm: sh Not tainted 6.10.0 #0\nCall trace: \n"
        "[<818ef10c>] (dump_backtrace) from [<818ef208>] (show_stack+0x18/0x1c traps.c:257)\n"
        " r7:00000000 r6:82622804 r5:00000000 r4:81feb1a4\n"
        "[<818ef1f0>] (show_stack) from [<8190c848>] (__dump_stack lib/dump_stack.c:93 [inline])\n"
        "[<818ef1f0>] (show_stack) from [<8190c848>] (dump_stack_lvl+0x54/0x7c dump_stack.c:119)\n"
    )

    (splat,) = parsed(log)

    assert names(splat) == ["show_stack", "__dump_stack", "dump_stack_lvl"]
    assert splat.unread == ()


@pytest.mark.parametrize(
    "headline",
    [
        "BUG: unable to handle page fault for address:",
        "BUG: kernel NULL pointer dereference, address:",
        "Unable to handle kernel paging request at virtual address",
    ],
)
def test_an_address_may_stand_in_the_next_line(headline: str) -> None:
    (splat,) = parsed(f"[    1.759763] {headline} \nffff8880be453000\n[    1.761100] {TASK}\n")

    assert splat.reason == f"{headline} ffff8880be453000"
    assert splat.pid == 55


def test_line_ends_that_rsyslog_wrote_as_numbers() -> None:
    log = f"BUG: Bad page state in process sh  pfn:1a2b3#012{PAGE}#012{REASON}\n{TASK}\n"

    (splat,) = parsed("".join(f"Jul  1 10:00:00 box kernel: {line}\n" for line in log.splitlines()))

    assert (splat.pfn, splat.mapcount, splat.reason) == (0x1A2B3, 1, "nonzero mapcount")


def test_a_taint_of_rhel() -> None:
    (splat,) = parsed(
        "kernel BUG at mm/slub.c:1!\nCPU: 10 PID: 6699 Comm: repro.sh Kdump: loaded "
        "Tainted: G           O     --------- -t - 4.18.0 #1\n"
    )

    assert (splat.tainted, splat.kernel_release) == ("GO", "4.18.0")


QUOTED_PRINTABLE = """\
From nobody Mon Sep 17 00:00:00 2001
Subject: =?utf-8?q?a_report?=
Content-Transfer-Encoding: {encoding}

A dash =E2=80=93 and a report:
[    7.000001] BUG: Bad page state in process=
 sh  pfn:1a2b3
[    7.000002] page: refcount:0 mapcount:1 mapping:0000000000000000 index:0x7f1=
 pfn:0x1a2b3
[    7.000003] {reason}
[    7.000004] CPU: 3 PID: 55 Comm: sh Not tainted 6.1.0 CONFIG_X=3Dy #1
"""


@pytest.mark.parametrize("encoding", ["quoted-printable", "QUOTED-PRINTABLE"])
def test_a_mail_as_it_was_sent(encoding: str) -> None:
    mail = QUOTED_PRINTABLE.format(encoding=encoding, reason=REASON)
    plain = "\n\nFrom other Mon Sep 17 00:00:00 2001\n\nkernel BUG at mm/x=3D.c:1!\n"

    first, second = parsed(mail + plain)

    assert (first.pfn, first.mapcount, first.pid) == (0x1A2B3, 1, 55)
    assert (first.line, second.line) == (6, 16)
    assert second.reason == "kernel BUG at mm/x=3D.c:1!"


def test_a_headlines_function_once_more_in_a_line_of_its_own_is_no_frame() -> None:
    lines = [
        "BUG: KASAN: slab-use-after-free in __list_add include/linux/list.h:153 [inline]",
        "BUG: KASAN: slab-use-after-free in",
        "rescan_tracking+0x280/0x5f0 fs/btrfs/qgroup.c:4005",
        f"{TASK}",
        *FRAMES,
    ]

    (splat,) = parsed("\n".join(lines) + "\n")

    assert (splat.cpu, splat.kernel_release) == (3, "6.1.0")
    assert names(splat) == ["dump_stack", "bad_page"]


@pytest.mark.parametrize("line", ["inner mm/debug.c:-1 [inline]", "inner (??:?)", "inner (??:0)"])
def test_a_frame_may_have_a_file_of_which_the_line_is_not_known(line: str) -> None:
    (splat,) = parsed(f"kernel BUG at mm/slub.c:5!\n{TASK}\nCall Trace:\n a (b.c:4)\n {line}\n")

    assert names(splat) == ["a", "inner"]
    assert splat.trace[1].source is None
    assert splat.unread_count == 0


def test_a_decoded_stack_may_stand_right_below_the_fault() -> None:
    lines = [
        "kernel BUG at mm/page-writeback.c:3119!",
        TASK,
        "RIP: 0010:start_writeback+0xc06/0x1050 mm/page-writeback.c:3119",
        " <TASK>",
        " one_folio fs/btrfs/extent_io.c:187 [inline]",
        " contig+0x31c/0x540 fs/btrfs/extent_io.c:216",
    ]

    (splat,) = parsed("\n".join(lines) + "\n")

    assert names(splat) == ["start_writeback", "one_folio", "contig"]


def test_a_mailer_may_break_a_line_right_after_its_prefix() -> None:
    stamp = "2021-02-26T11:49:32.035969+01:00 thehost kernel: [156011.5213"
    lines = [
        f"{stamp}66] BUG: Bad page state in process sh  pfn:1a2b3",
        f"{stamp}67]",
        PAGE,
        f"{stamp}68] page dumped because: nonzero mapcount",
        f"{stamp}69]",
        TASK,
    ]

    (splat,) = parsed("\n".join(lines) + "\n")

    assert (splat.mapcount, splat.index, splat.pid) == (1, 0x7F1, 55)


def test_a_mailer_made_a_paragraph_of_a_report() -> None:
    lines = [
        "> BUG: Bad page state in process a.out  pfn:1a2b3",
        "> page:ffffea0001 refcount:0 mapcount:1 mapping:0000000000000000 index:0x1",
        "> pfn:0x1a2b3 flags: 0x17ffffc0000008(uptodate|node=0|zone=2)",
        "> raw: 0017ffffc0000008 dead000000000100 dead000000000122 0000000000000000",
        "> raw: 0000000000000001 0000000000000000 00000000fffffffe",
        "> 0000000000000000 page dumped because: nonzero mapcount Modules",
        "> linked in: ext4 CPU: 3 PID: 77 Comm: a.out Tainted: G    B",
        "> 5.7.0-rc6-next #1 Hardware name: A Standard PC, BIOS",
        "> 1.13.0-1 04/01/2014 Call Trace: [<c0012345>] bad_page+0xa8/0x108",
    ]

    (splat,) = parsed("\n".join(lines) + "\n")

    assert (splat.pid, splat.cpu, splat.tainted) == (77, 3, "GB")
    assert splat.kernel_release == "5.7.0-rc6-next"
    assert splat.hardware == "A Standard PC, BIOS 1.13.0-1 04/01/2014"
    assert (splat.reason, splat.flags, len(splat.raw)) == ("nonzero mapcount", ("uptodate",), 8)
    assert names(splat) == ["bad_page"]


def test_a_web_page_made_one_line_of_a_report() -> None:
    words = [
        "BUG: Bad page state in process sh  pfn:006a1",
        "page:f0933420 refcount:0 mapcount:1 mapping:(ptrval) index:0x1",
        "raw: 00000000 00000100 00000122 00000000 00000001 00000000 00000000 00000000",
        REASON,
        "Modules linked in:",
        TASK,
        "Call Trace: [f00e7ab8] bad_page+0xa8/0x108 [f00e8b54] free_pcppages_bulk+0x154/0x52c",
    ]

    (splat,) = parsed(" ".join(words) + "\n")

    assert (splat.pfn, splat.mapcount, splat.pid) == (0x6A1, 1, 55)
    assert (splat.reason, len(splat.raw)) == ("nonzero mapcount", 8)
    assert names(splat) == ["bad_page", "free_pcppages_bulk"]


def test_a_taint_may_be_broken_twice() -> None:
    lines = [
        "[   11.195380] BUG: Bad page state in process systemd-udevd  pfn:290fa",
        "[   11.195388] CPU: 9 PID: 391 Comm: systemd-udevd Tainted: G    B",
        "D W",
        "OE     5.16.0-1-MANJARO #1",
        "[   11.195391] Call Trace:",
    ]

    (splat,) = parsed("\n".join(lines) + "\n")

    assert (splat.tainted, splat.kernel_release) == ("GBDWOE", "5.16.0-1-MANJARO")


def test_a_web_page_put_each_hexadecimal_word_into_its_own_line() -> None:
    lines = [
        "BUG: Bad page map in process sh  pte:428f12867 pmd:10a3c4067",
        "page:",
        "ffffea000428f100 refcount:1 mapcount:-1 mapping:",
        "0000000000000000 index:0x7f1 pfn:0x428f12",
        "raw: ",
        "0017ffffc0000008 ",
        "dead000000000100 ",
        "dead000000000122 ",
        "0000000000000000",
        "addr:",
        "00007fff84619000 vm_flags:",
        "04044411 anon_vma:",
        "ffff888100000000 mapping:",
        "0000000000000000 index:7ff84",
        TASK,
        *FRAMES,
        "BUG: Bad page state in process sh  pfn:1a2b3",
    ]

    first, second = parsed("\n".join(lines) + "\n")

    assert (first.mapcount, first.index, len(first.raw)) == (-1, 0x7F1, 4)
    assert (first.addr, first.vm_flags) == (0x7FFF84619000, 0x4044411)
    assert (first.pid, names(first)) == (55, ["dump_stack", "bad_page"])
    assert second.line == len(lines)


def test_no_break_spaces_and_lines_broken_twice_in_quoted_printable() -> None:
    """Of lines that the encoding broke, what stands below is still the next line."""
    mail = """\
Content-Transfer-Encoding: quoted-printable

> > =C2=A0page:00000000577758b3 refcount:0 mapcount:0 mapping:0000000000000=
000
> > index:0x1 pfn:0x1192cc
> > =A0flags: 0x17ffffc0000000(node=3D0|zone=3D2|lastcpupid=3D0x1fffff)
> > =C2=A0page dumped because: VM_BUG_ON_FOLIO(1)
> > =C2=A0kernel BUG at mm/foo.c:708!
> > =C2=A0CPU: 16 PID: 226 Comm: some-program Kdump: loaded Tainted: G      =
  =20
> > 5.18.0-rc1+ #1=20
"""
    (splat,) = parsed(mail)

    assert (splat.pfn, splat.index, splat.flags_word) == (0x1192CC, 1, 0x17FFFFC0000000)
    assert (splat.pid, splat.kernel_release, splat.line) == (226, "5.18.0-rc1+", 8)
    assert splat.unread_count == 0


def test_names_that_are_left_of_a_stacks_last_frames() -> None:
    log = """\
BUG: unable to handle page fault for address: ffffcd6002dcc5e0
CPU: 0 UID: 1000 PID: 83 Comm: worker
RIP: 0010:mark_it_dirty+0x25/0x60
Call Trace:
 zap_some_ptes.constprop.0+0x46a
 unmap_some+0xb2/0x1a0
 complete_the_munmap
 __x64_sys_munmap

done
"""
    (splat,) = parsed(log)

    assert names(splat) == [
        "mark_it_dirty",
        "zap_some_ptes.constprop.0",
        "unmap_some",
        "complete_the_munmap",
        "__x64_sys_munmap",
    ]


def test_modules_in_three_lines() -> None:
    log = """\
BUG: Bad page state in process sh  pfn:0002b
page: refcount:0 mapcount:0 mapping:0000000000000000 index:0x0 pfn:0x2b
Modules linked in: one two three four five six seven eight nine ten eleven
   twelve thirteen fourteen fifteen sixteen seventeen eighteen
   nineteen twenty
CPU: 2 UID: 0 PID: 19 Comm: sh Not tainted 6.12.0 #184
"""
    (splat,) = parsed(log)

    assert (splat.pid, splat.unread_count) == (19, 0)


def test_a_decoded_frame_that_was_broken_after_its_name_is_one() -> None:
    log = """\
BUG: unable to handle page fault for address: ffffcd6002dcc5e0
CPU: 0 UID: 1000 PID: 83 Comm: worker
Call Trace:
 print_it.constprop.0+0x1c/0x210
 ? _raw_spin_lock_irqsave
(arch/x86/include/asm/atomic.h:202)
 ? next_one (arch/x86/kernel/unwind_orc.c:444)
"""
    (splat,) = parsed(log)

    assert names(splat) == ["print_it.constprop.0", "_raw_spin_lock_irqsave?", "next_one?"]
