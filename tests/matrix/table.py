"""The matrix for people: on the terminal, and as a page of the docs."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from tests.machine import machine
from tests.matrix.rows import FAILED, NOT_POSSIBLE, PASSED, ROWS, STEPS, Cell

FAULT = (
    "The fault is one page's `_mapcount`, lowered by one through the gdbstub of the QEMU that runs",
    "the guest, while it is stopped: as if the page's rmap had been removed once too often.  It",
    "needs no patch, module or headers, is the same on every kernel, and reaches nothing but",
    "a guest that zaptrace has started.",
)
MARKS = {PASSED: "passed", FAILED: "FAILED", NOT_POSSIBLE: "not possible"}


def show(cells: Sequence[Cell]) -> None:
    """The table, followed by every reason."""
    console = Console(width=110, highlight=False)
    table = Table(title="zaptrace matrix")
    for column in ("kernel", "arch", *STEPS):
        table.add_column(column)
    for line in _lines(cells):
        table.add_row(*line)
    console.print(table)
    for cell in cells:
        if cell.reason:
            console.print(f"{cell.kernel} {cell.arch} {cell.step}: {cell.result}: {cell.reason}")


def page(cells: Sequence[Cell]) -> str:
    """The page, in Markdown."""
    today = datetime.datetime.now(datetime.UTC).date()
    machines = {cell.machine for cell in cells if cell.machine} or {machine()}
    lines = [
        "# The matrix",
        "",
        (
            f"Written by `make matrix` on {today}: {'; '.join(sorted(machines))}.  "
            "Each cell ran in a guest with Debian's own kernel."
        ),
        "",
        *summary(cells),
        "",
        "What a step is:",
        "",
        *(f"- **{step}**: {what}." for step, what in STEPS.items()),
        "",
        *FAULT,
        "",
        "Every cell's own words:",
        "",
    ]
    for row in ROWS:
        mine = [cell for cell in cells if (cell.kernel, cell.arch) == (row.kernel, row.arch)]
        cpus = f"; {row.smp} CPU and a read-only disk: {row.special}" if row.special else ""
        lines += [f"- {row.kernel} {row.arch} ({mine[0].release}{cpus})"]
        lines += [f"  - {cell.step}: {cell.result}{_because(cell)}" for cell in mine]
    return "\n".join(lines) + "\n"


def summary(cells: Sequence[Cell]) -> list[str]:
    """The table alone, in Markdown: a line each."""
    return _markdown(("kernel", "arch", *STEPS), _lines(cells))


def _because(cell: Cell) -> str:
    return f": {cell.reason}" if cell.reason else ""


def _lines(cells: Sequence[Cell]) -> Iterable[tuple[str, ...]]:
    for row in ROWS:
        mine = {one.step: one for one in cells if (one.kernel, one.arch) == (row.kernel, row.arch)}
        if mine:
            release = next(iter(mine.values())).release or row.kernel
            yield (release, row.arch, *(MARKS[mine[step].result] for step in STEPS))


def _markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    rows = [head, ["---"] * len(head), *lines]
    return [f"| {' | '.join(row)} |" for row in rows]
