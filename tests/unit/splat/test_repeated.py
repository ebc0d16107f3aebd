"""A piece of a log that stands again, stamps and all, as s390x's console can print its buffer."""

from __future__ import annotations

import pytest

from tests.unit.splat.parsed import parsed
from zaptrace.splat import parse

TASK = "CPU: 0 PID: 33 Comm: mount Tainted: G    B              6.1.176 #1"
FRAMES = ("dump_stack_lvl+0x62/0x80", "bad_page+0xec/0x120", "free_pcp_prepare+0x114/0x330")


def report(began: float, pfn: int) -> list[str]:
    said = [
        f"BUG: Bad page state in process mount  pfn:{pfn:05x}",
        f"page:0000000000000000 refcount:0 mapcount:1 mapping:0 index:0x1 pfn:{pfn:#x}",
        "flags: 0xa0004(uptodate|swapbacked|zone=0)",
        "page dumped because: nonzero mapcount",
        TASK,
        "Call Trace:",
        *(f" {frame} " for frame in FRAMES),
    ]
    return [f"[    {began + at / 1e4:.6f}] {line}" for at, line in enumerate(said)]


LINES = [line for at in range(6) for line in report(1.2 + at / 100, 0xA8B + at)]


@pytest.mark.parametrize("quote", ["", "> "])
@pytest.mark.parametrize("cut", range(2, len(LINES)))
def test_a_piece_that_stands_again_is_no_report_and_breaks_none(cut: int, quote: str) -> None:
    """Wherever it ends, and however long it is."""
    whole = [(one.pfn, one.reason, one.trace) for one in parsed("\n".join(LINES))]
    assert len(whole) == 6
    for length in (2, 7, 20, 50):
        again = LINES[max(cut - length, 0) : cut]
        text = "\n".join(quote + line for line in [*LINES[:cut], *again, *LINES[cut:]])
        assert [(one.pfn, one.reason, one.trace) for one in parsed(text)] == whole, (cut, length)


def test_the_reports_of_a_piece_that_stands_again_are_told() -> None:
    copies: list[int] = []
    parse("\n".join([*LINES[:20], *LINES[8:20], *LINES[20:]]).encode(), copies=copies)
    assert copies == [22, 31]
