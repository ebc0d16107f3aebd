"""The decision table: every row, and what it makes of a console.

A row is added here, in the module of its subject: `rows_state` (what the allocator refuses),
`rows_entry` (PTEs and page tables), `rows_mm` (swap entries, an mm's counters, other checks),
`rows_oops` (oopses in the mm's code), `rows_old` (what only old kernels print), `rows_console`
(what only the whole log shows).
"""

from __future__ import annotations

from zaptrace.model.clues import Clue
from zaptrace.triage import rows_console, rows_entry, rows_mm, rows_old, rows_oops, rows_state
from zaptrace.triage.console import Console
from zaptrace.triage.row import apply

ROWS = (
    *rows_console.MEMORY_ROWS,
    *rows_old.ROWS,
    *rows_state.ROWS,
    *rows_entry.ROWS,
    *rows_mm.ROWS,
    *rows_oops.ROWS,
    *rows_console.LOG_ROWS,
)


def triage(console: Console) -> tuple[Clue, ...]:
    """Return what stands out on a console, in the order of the table.  Pure."""
    return tuple(clue for row in ROWS for clue in apply(row, console))
