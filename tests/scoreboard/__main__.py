"""`make scoreboard`: boots every fault, prints a table, writes build/scoreboard.json.

With names of faults as arguments only those, and no page in the documentation.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.scoreboard.board import KERNELS, board, ordered, write
from tests.scoreboard.expected import FAULTS
from tests.scoreboard.table import page, show
from tests.scoreboard.truth import Row

OUTPUT = Path("build/scoreboard.json")
PAGE = Path("docs/scoreboard.md")
CLEAN = 50
"""Healthy boots on each kernel and architecture."""


def main(words: list[str]) -> int:
    """All right: 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.scoreboard")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="all when none is named")
    parser.add_argument("--kernel", action="append", choices=KERNELS, help="a series; all")
    parser.add_argument("--clean", type=int, help=f"healthy boots on each; {CLEAN}, or 0")
    args = parser.parse_args(words)
    kernels = args.kernel or KERNELS
    whole = not args.faults and kernels == KERNELS
    clean = args.clean if args.clean is not None else 0 if args.faults else CLEAN
    found: list[Row] = []
    for row in board(args.faults or FAULTS, clean=clean, kernels=kernels):
        found.append(row)
        said = "ok" if row["ok"] else f"WRONG: {'; '.join(row['wrong'])}"
        which = f"{row['series']} {row['fault']} {row['arch']} {'+'.join(row['evidence'])}"
        print(f"{which}: {said}", file=sys.stderr)
    found = ordered(found)
    show(found)
    if whole:
        write(found, OUTPUT)
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(found))
    return 0 if all(row["ok"] for row in found) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
