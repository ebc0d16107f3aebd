"""Lines that a mailer broke are whole again, and whole ones are left alone."""

from __future__ import annotations

import pytest

from tests.unit.splat.builders import misread, wrapped
from tests.unit.splat.kinds_of_reports import REPORTS
from tests.unit.splat.transports import PREFIXES
from zaptrace.splat import parse


@pytest.mark.parametrize("width", [72, 76, 78])
@pytest.mark.parametrize("transport", ["bare", "printk", "quoted", "quoted, stamps", "dmesg -T"])
def test_what_a_mailer_broke_is_read_whole(transport: str, width: int) -> None:
    prefix = PREFIXES[transport]
    wrong = {}
    for name, (lines, wanted) in REPORTS.items():
        broken = [
            part for at, line in enumerate(lines) for part in wrapped(f"{prefix(at)}{line}", width)
        ]
        if one := misread(("\n".join(broken) + "\n").encode(), wanted):
            wrong[name] = one
    assert wrong == {}


def test_a_quoted_rest_keeps_its_quotes_out() -> None:
    (splat,) = parse(
        b"> [  904.000100] BUG: Bad page map in process a forker  pte:2000000019abc3\n"
        b"> pmd:80000000df11003\n"
        b"> [  904.000200] page: refcount:1 mapcount:-1 mapping:0000000000000000\n"
        b"> index:0x0 pfn:0x19a\n"
    )
    assert (splat.process, splat.pmd, splat.pfn) == ("a forker", 0x80000000DF11003, 0x19A)


def test_a_comment_is_no_part_of_a_line() -> None:
    (splat,) = parse(
        b"> [  904.000100] BUG: Bad page state in process forker  pfn:0019a\n"
        b"> [  904.000200] page: refcount:1 mapcount:-1 mapping:0000000000000000 index:0x0\n"
        b"So the page has a mapcount of minus one, pfn:0x7 is my guess.\n"
        b"> [  904.000300] page dumped because: nonzero mapcount\n"
        b"which is what I would expect.\n"
        b"> [  904.000400] Hardware name: Example Board with a name that is rather long (DT)\n"
        b"That is a nice board.\n"
    )
    assert (splat.pfn, splat.reason) == (0x19A, "nonzero mapcount")
    assert splat.hardware == "Example Board with a name that is rather long (DT)"


def test_a_terminal_breaks_inside_words() -> None:
    line = (
        "[  904.000200] page: refcount:1 mapcount:-1 mapping:0000000000000000 index:0x7f00aa1b "
        "pfn:0x19a"
    )
    data = f"[  904.000100] BUG: Bad page state in process a  pfn:0019a\n{line[:80]}\n{line[80:]}\n"
    (splat,) = parse(data.encode())
    assert (splat.index, splat.pfn) == (0x7F00AA1B, 0x19A)


def test_words_of_raw_lines_that_a_mailer_broke() -> None:
    (splat,) = parse(
        b"> > [ 3994.900000] BUG: Bad page state in process sh  pfn:15028\n"
        b"> > [ 3994.907255] page: refcount:9 mapcount:1 mapping:0000000000000000\n"
        b"> > index:0x7f90b3e98 pfn:0x15028\n"
        b"> > [ 3994.914449] head: order:3 mapcount:8 entire_mapcount:0\n"
        b"> > nr_pages_mapped:8 pincount:0\n"
        b"> > [ 3994.933479] raw: 0017ffffc002084c ffff88816edd9128 ffffea000beac108\n"
        b"> > ffff8882e8ba6bc9\n"
        b"> > [ 3994.936251] raw: 00000007f90b3e98 0000000000000000 0000000900000000\n"
        b"> > ffff888106746000\n"
    )
    assert splat.index == 0x7F90B3E98
    assert splat.folio is not None
    assert (splat.folio.nr_pages_mapped, splat.folio.pincount) == (8, 0)
    assert splat.raw[3:5] == (0xFFFF8882E8BA6BC9, 0x7F90B3E98)
    assert len(splat.raw) == 8


def test_a_line_of_its_own_is_no_part_of_a_headline() -> None:
    lockup, fault = parse(
        b"  watchdog: BUG: soft lockup - CPU#0 stuck for 23s! [tester/0:1] with a long name\n"
        b"  Modules linked in:\n"
        b"  CPU: 0 PID: 1 Comm: tester/0 Not tainted 5.4.0-test #7\n"
        b" BUG: kernel NULL pointer dereference, address: 0000000000000010\n"
        b" #PF: supervisor read access in kernel mode\n"
    )
    assert (lockup.reason or "").endswith("long name")
    assert (fault.reason or "").endswith("0010")


def test_the_rest_of_a_line_of_lockdeps_is_no_frame() -> None:
    (splat,) = parse(
        b"> BUG: Bad page state in process sh  pfn:15028\n"
        b"> Call Trace:\n"
        b"> [c7147d10] [c02097a4] bad_page+0x44/0x8c\n"
        b"> hardirqs last  enabled at (77): [<c10391e4>] \n"
        b"> _raw_spin_unlock_irqrestore+0x70/0xa8\n"
    )
    assert [frame.symbol for frame in splat.trace] == ["bad_page"]


def test_a_warning_whose_place_stands_in_the_next_line() -> None:
    (splat,) = parse(
        b"2019-09-12 12:41:47     WARNING: CPU: 2 PID: 0 at\n"
        b"net/sched/sch_generic.c:443 dev_watchdog+0x254/0x260\n"
        b"2019-09-12 12:41:47     CPU: 2 PID: 0 Comm: swapper/2 Not tainted 5.2.14 #1\n"
    )
    assert (splat.pid, splat.comm) == (0, "swapper/2")
    assert (splat.reason or "").endswith("dev_watchdog+0x254/0x260")


def test_modules_glued_to_the_reason() -> None:
    (splat,) = parse(
        b"BUG: Bad page state in process swapper  pfn:2ffc53\n"
        b"page dumped because: nonzero mapcount  Modules linked in:\n"
    )
    assert splat.reason == "nonzero mapcount"


def test_frames_of_sparc32_broken_after_the_colon() -> None:
    (splat,) = parse(
        b"BUG: Bad page state in process swapper/0  pfn:006a1\n"
        b"CPU: 0 PID: 1 Comm: swapper/0 Tainted: G    B             5.7.0 #1\n"
        b"[f00e7ab8 :\nbad_page+0xa8/0x108 ]\n[f00e8b54 :\nfree_pcppages_bulk+0x154/0x52c ]\n"
    )
    assert [one.symbol for one in splat.trace] == ["bad_page", "free_pcppages_bulk"]


def test_a_warning_of_inlined_functions_whose_lines_were_broken() -> None:
    at = b"WARNING: CPU: 1 PID: 8096 at include/linux/mmap_lock.h:71\n"
    (splat,) = parse(
        at
        + b"mmap_assert_write_locked include/linux/mmap_lock.h:71 [inline]\n"
        + at
        + b"__is_vma_write_locked include/linux/mm.h:708 [inline]\n"
        + at
        + b"dup_mmap+0xf44/0x1a30 kernel/fork.c:671\n"
        + b"CPU: 1 PID: 8096 Comm: sh Not tainted 6.9.0 #2\n"
    )
    assert (splat.pid, splat.comm) == (8096, "sh")
