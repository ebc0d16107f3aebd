"""`make scoreboard`: boots every fault, prints a table, writes build/scoreboard.json.

With names of faults as arguments only those, and no page in the documentation.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.scoreboard.board import board, ordered, write
from tests.scoreboard.expected import FAULTS
from tests.scoreboard.table import page, show
from tests.scoreboard.truth import Row

OUTPUT = Path("build/scoreboard.json")
PAGE = Path("docs/scoreboard.md")
CLEAN = 25
"""Healthy boots on each architecture."""


def main(faults: list[str]) -> int:
    """All right: 0."""
    found: list[Row] = []
    for row in board(faults or FAULTS, clean=0 if faults else CLEAN):
        found.append(row)
        words = "ok" if row["ok"] else f"WRONG: {'; '.join(row['wrong'])}"
        print(f"{row['fault']} {row['arch']} {'+'.join(row['evidence'])}: {words}", file=sys.stderr)
    found = ordered(found)
    show(found)
    if not faults:
        write(found, OUTPUT)
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(found))
    return 0 if all(row["ok"] for row in found) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
