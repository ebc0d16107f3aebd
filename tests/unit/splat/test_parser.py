"""What a parser of hostile logs must hold: it finds what is there, and it always ends soon."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.splat.reports import expected, log, report, without
from zaptrace.model.splats import Splat
from zaptrace.splat import parse

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
    """A second stack behind a whole report belongs to something that we do not know."""
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
