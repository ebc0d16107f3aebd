"""The readings that a bad PTE leaves open, out of the decision table."""

from __future__ import annotations

from zaptrace.model.clues import Cause
from zaptrace.model.splats import Splat
from zaptrace.triage.console import Console
from zaptrace.triage.row import rank
from zaptrace.triage.rows_entry import ROWS

_OF_PTES = ("mapcount_underflow", "bad_pte_counted", "pte_without_page", "typed_page_mapped")


def readings(splat: Splat, console: Console) -> tuple[str, ...]:
    """Return possible causes of one "Bad page map", the likeliest first, with what supports each.

    Args:
        console: the console that it is on, for what else supports a cause.
    """
    rows = [row for row in ROWS if row.name in _OF_PTES]
    ranked = (
        rank(row.causes, seen, console) for row in rows for seen in row.sees(Console((splat,)))
    )
    return tuple(_reading(cause) for causes in ranked for cause in causes)


def _reading(cause: Cause) -> str:
    return f"{cause.what} [{', '.join(cause.speaks_for)}]" if cause.speaks_for else cause.what
