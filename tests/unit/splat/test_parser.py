"""What a parser of hostile logs must hold: it finds what is there, and it always ends soon."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.splat.reports import expected, log, report, without
from zaptrace.model.splats import Splat
from zaptrace.splat import parse, parse_console

DEADLINE = 5.0
"""Seconds of CPU for 0.25 MB: a hundred times what it takes, far less than a quadratic one."""


def told(splat: Splat) -> dict[str, Any]:
    data = splat.to_json()
    data["trace"] = [{**frame, "source": None} for frame in data["trace"]]
    return data


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from((0.0, 0.2, 0.6)))
def test_finds_every_report_in_a_dirty_log(seed: int, count: int, lost: float) -> None:
    rng = random.Random(seed)
    reports = [without(report(rng), rng, lost) for _ in range(count)]
    found = parse(log(rng, reports))
    assert len(found) == count
    # Two reports can be word for word the same headline: match by headline and order.
    truths = [expected(lines) for lines in reports]
    for splat in found:
        data = told(splat)
        fits = [truth for truth in truths if _agrees(data, truth)]
        assert fits, (data, truths)
        truths.remove(fits[0])


def _agrees(data: dict[str, Any], truth: dict[str, Any]) -> bool:
    blank = Splat("").to_json() | {"time": data["time"], "line": data["line"]}
    wanted = blank | truth
    wanted["trace"] = [{**frame, "source": None} for frame in truth["trace"]]
    return data == wanted


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_are_a_log(data: bytes) -> None:
    assert all(splat.kind in ("other",) or splat.line for splat in parse(data))


PIECES = (
    b"BUG: Bad page state in process a  pfn:1 ",
    b"BUG: Bad page map in process ",
    b"BUG: Bad rss-counter state mm:1 type:",
    b"page:",
    b"refcount:0 mapcount:",
    b"flags: 0x1(a|",
    b"addr:1 vm_flags:2 ",
    b"file: fault:",
    b"CPU: 1 PID: 1 Comm: Tainted: G ",
    b"Call Trace:",
    b"[<ffffffff81000000>] ",
    b"a from (",
    b"sym+0x1/0x2",
    b"RIP: 0010:",
    b"[    1.000000]",
    b"[",
    b"<4>",
    b"\x1b[0",
    b"\x1b]0",
    b"Jan  1 00:00:00.0 host kernel: ",
    b" ",
    b"\r",
    b"\n",
    b"\0",
    b"\xff",
    b"a",
)


@settings(max_examples=100, deadline=None)
@example([PIECES[0], b"Jan  1 00:00:00.0 host kernel: ", b"\n", b"page:"])
@given(st.lists(st.sampled_from(PIECES), max_size=200))
def test_pieces_of_reports_in_any_order(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    headlines = data.count(b"BUG: Bad page ") + data.count(b"BUG: Bad rss")
    assert len(parse(data)) <= headlines


@pytest.mark.parametrize("piece", PIECES, ids=repr)
@pytest.mark.parametrize("frame", (b"%s", b"BUG: Bad page state in process a  pfn:1\n%s\n"))
def test_time_is_linear(piece: bytes, frame: bytes) -> None:
    """Each piece over and over: on one line of 0.25 MB, and on long lines of an open report."""
    lines = 1 if frame == b"%s" else 8
    data = (frame % (piece * (250_000 // lines // len(piece)))) * lines
    started = time.process_time()
    parse(data)
    assert time.process_time() - started < DEADLINE


def test_random_bytes_take_no_time() -> None:
    data = random.Random(7).randbytes(250_000)
    started = time.process_time()
    assert parse(data) == []
    assert time.process_time() - started < DEADLINE


def test_a_report_ends_when_the_log_goes_elsewhere() -> None:
    """A stack long after a report is not the report's."""
    chatter = b"".join(b"[    2.%06d] usb 1-1: reset\n" % at for at in range(60))
    data = (
        b"[    1.000000] BUG: Bad page state in process sh  pfn:00001\n"
        + chatter
        + b"[    9.000000] CPU: 1 PID: 9 Comm: sh Not tainted 6.1.0 #1\n"
        + b"[    9.000001]  show_stack+0x1/0x2\n"
    )
    (splat,) = parse(data)
    assert (splat.pid, splat.trace) == (None, ())


def test_another_report_s_stack_is_not_taken() -> None:
    """A second stack after a whole report belongs to something unknown."""
    report_of_sh = (
        b"BUG: Bad page state in process sh  pfn:00001\n"
        b"CPU: 1 PID: 9 Comm: sh Not tainted 6.1.0 #1\nCall Trace:\n one+0x1/0x2\n"
    )
    stranger = b"sysrq: Show Backtrace\nCPU: 2 PID: 3 Comm: sh\nCall Trace:\n two+0x1/0x2\n"
    (splat,) = parse(report_of_sh + stranger)
    assert [frame.symbol for frame in splat.trace] == ["one"]


def test_the_page_of_another_pfn_is_not_taken() -> None:
    data = (
        b"BUG: Bad page state in process sh  pfn:00001\n"
        b"page:1 refcount:5 mapcount:6 mapping:0 index:0x0 pfn:0x2\n"
    )
    (splat,) = parse(data)
    assert (splat.refcount, splat.mapcount) == (None, None)


def test_suppressed_counts_for_the_next_of_its_kind() -> None:
    data = (
        b"BUG: Bad page map: 7 messages suppressed\n"
        b"BUG: Bad page state in process sh  pfn:00001\n"
        b"BUG: Bad page map in process sh  pte:1 pmd:2\n"
        b"BUG: Bad page map in process sh  pte:1 pmd:2\n"
    )
    assert [(splat.kind, splat.suppressed) for splat in parse(data)] == [
        ("bad_page_state", None),
        ("bad_page_map", 7),
        ("bad_page_map", None),
    ]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_log_need_not_end_with_a_line_s_end(end: bytes) -> None:
    frames = b"BUG: Bad page state in process a  pfn:00042\nCall Trace:\n bad_page+0x1/0x2\n"
    (splat,) = parse(frames + b" free_pages+0x4bc/0x5c0" + end)
    assert [frame.symbol for frame in splat.trace] == ["bad_page", "free_pages"]
    (counter,) = parse(b"BUG: Bad rss-counter state mm:0000000012345678 idx:1 val:12" + end)
    assert counter.rss_value == 12


def test_a_guest_s_console_may_end_in_a_number() -> None:
    """Of "pfn:00042" a guest that was killed has perhaps printed "pfn:000"."""
    torn = b"BUG: Bad page state in process a  pfn:00042\npage: refcount:1 mapcount:1"
    (splat,) = parse_console(torn)
    assert (splat.pfn, splat.refcount, splat.mapcount) == (0x42, 1, None)
    assert parse_console(b"BUG:") == parse_console(b"") == []
    whole = b"BUG: Bad page state in process a  pfn:00042\n"
    assert parse_console(whole) == parse(whole)


def test_an_eeek_of_old_kernels_belongs_to_the_bug_that_follows() -> None:
    """With the pfn and the VMA's lines, which came between 2.6.19 and 2.6.28."""
    (splat,) = parse(
        b"Eeek! page_mapcount(page) went negative! (-1)\n"
        b"  page pfn = 1a2b3\n  page->flags = 868\n  page->count = 1\n"
        b"  page->mapping = f7a0f5c8\n  vma->vm_ops = 0xf8a3b6a0\n"
        b"------------[ cut here ]------------\nkernel BUG at mm/rmap.c:560!\n"
        b"invalid opcode: 0000 [#1]\nCPU:    1\nEIP:    0060:[<c0166f5b>]    Not tainted VLI\n"
        b"EFLAGS: 00010286   (2.6.18-8.el5 #1)\nEIP is at page_remove_rmap+0xb9/0xe5\n"
        b"Process db (pid: 4321, ti=f5b2a000 task=f6b6a000 task.ti=f5b2a000)\n"
        b"Call Trace:\n [<c01611d3>] unmap_vmas+0x2a3/0x4f0\n"
    )
    assert (splat.pfn, splat.mapcount, splat.refcount) == (0x1A2B3, -1, 1)
    assert (splat.cpu, splat.pid, splat.kernel_release) == (1, 4321, "2.6.18-8.el5")
    assert splat.unread_count == 0


def test_a_line_that_the_report_refuses_is_counted() -> None:
    (splat,) = parse(
        b"BUG: KASAN: use-after-free in a_read+0x12/0x30\n"
        b"CPU: 0 PID: 3 Comm: cat Not tainted 6.8.0\n"
        b"Call Trace:\n <TASK>\n kasan_report+0xbd/0xf0\n </TASK>\n"
        b"The buggy address belongs to the physical page:\n"
        b"page:ffffea0000491400 refcount:0 mapcount:0 mapping:0000000000000000 "
        b"index:0x0 pfn:0x54321\n"
        b"The buggy address belongs to the physical page:\n"
        b"page:ffffea0000491400 refcount:0 mapcount:0 mapping:0000000000000000 "
        b"index:0x0 pfn:0x12345\n"
        b"page dumped because: kasan: bad access detected\n---[ end trace 0 ]---\n"
    )
    assert splat.pfn == 0x54321
    assert any("pfn:0x12345" in line for line in splat.unread), splat.unread


def test_the_stack_of_a_report_without_headline_is_not_the_last_one_s() -> None:
    (splat,) = parse(
        b"BUG: Bad page state in process a  pfn:00042\nCall Trace:\n <TASK>\n bad_page+0x1/0x2\n"
        b" </TASK>\nOops: invalid opcode\nRIP: 0010:other+0x5/0x9\nCall Trace:\n more+0x7/0x9\n"
    )
    assert [frame.symbol for frame in splat.trace] == ["bad_page"]


def test_where_locks_were_taken_is_not_the_call_trace() -> None:
    """Lockdep prints the chain of the locks before the task and its stack."""
    (splat,) = parse(
        b"[ 3055.417777] WARNING: possible circular locking dependency detected\n"
        b"[ 3055.417781] 6.9.0-test #1 Not tainted\n"
        b"[ 3055.417922] -> #1 (fs_reclaim){+.+.}-{0:0}:\n"
        b"[ 3055.417922]        __lock_acquire+0x5c8/0xf60\n"
        b"[ 3055.417928]        lock_acquire+0xd0/0x280\n"
        b"[ 3055.418237] -> #0 (&one_lock#3){++++}-{3:3}:\n"
        b"[ 3055.418237]        check_prev_add+0x170/0x113c\n"
        b"[ 3055.418810] stack backtrace:\n"
        b"[ 3055.418815] CPU: 5 PID: 83 Comm: kswapd1 Not tainted 6.9.0-test #1\n"
        b"[ 3055.418826] Call Trace:\n"
        b"[ 3055.418830]  dump_stack_lvl+0x74/0x90\n"
        b"[ 3055.418832]  print_circular_bug+0x1/0x2\n"
    )
    assert splat.pid == 83
    assert [frame.symbol for frame in splat.trace] == ["dump_stack_lvl", "print_circular_bug"]


def test_of_which_file_system_a_page_is() -> None:
    lines = (
        "aops:xfs_address_space_operations [xfs] ino:302",
        'mapping->aops:xfs_address_space_operations [xfs] dentry name:"lvm"',
    )
    for line in lines:
        (splat,) = parse(
            b"BUG: Bad page cache in process umount  pfn:7655f\n"
            b"page: refcount:9 mapcount:1 mapping:00000000ecd1b54a index:0x0 pfn:0x7655f\n"
            b"memcg:ffff888104f36000\n" + line.encode() + b"\n"
            b"flags: 0x17ffffc000016d(locked|uptodate|lru|active|node=0|zone=2)\n"
            b"page dumped because: still mapped when deleted\n"
        )
        assert (splat.aops, splat.memcg) == ("xfs_address_space_operations", 0xFFFF888104F36000)
        assert splat.flags == ("locked", "uptodate", "lru", "active")
        assert splat.unread_count == 0
