"""`make scoreboard`: boots every fault, prints a table, writes build/scoreboard.json.

With names of faults as arguments only those, and no page in the documentation.  The rows are kept
as they come (build/scoreboard.jsonl): with --resume only the boots are made that are not there yet.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from tests.scoreboard import healthy
from tests.scoreboard.board import KERNELS, LOST, board, ordered, write
from tests.scoreboard.expected import FAULTS, SUBSETS
from tests.scoreboard.table import healthy_page, page, show
from tests.scoreboard.truth import Row

OUTPUT = Path("build/scoreboard.json")
KEPT = OUTPUT.with_suffix(".jsonl")
PAGE = Path("docs/scoreboard.md")
CLEAN = 50
"""Healthy boots on each kernel and architecture."""


def main(words: list[str]) -> int:
    """All right: 0."""
    parser = argparse.ArgumentParser(prog="python -m tests.scoreboard")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="all when none is named")
    parser.add_argument("--kernel", action="append", choices=KERNELS, help="a series; all")
    parser.add_argument("--clean", type=int, help=f"healthy boots on each; {CLEAN}, or 0")
    parser.add_argument("--resume", action="store_true", help="keep the boots of the last time")
    args = parser.parse_args(words)
    kernels = args.kernel or KERNELS
    clean = args.clean if args.clean is not None else 0 if args.faults else CLEAN
    found = kept(KEPT) if args.resume else []
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text("".join(json.dumps(row) + "\n" for row in found))
    done = Counter((row["series"], row["arch"], row["fault"]) for row in found)
    boots = Counter({job: rows // len(SUBSETS) for job, rows in done.items()})
    for row in board(args.faults or FAULTS, clean=clean, kernels=kernels, made=boots):
        found.append(row)
        with KEPT.open("a") as file:
            file.write(json.dumps(row) + "\n")
        said = "ok" if row["ok"] else f"WRONG: {'; '.join(row['wrong'])}"
        which = f"{row['series']} {row['fault']} {row['arch']} {'+'.join(row['evidence'])}"
        print(f"{which}: {said}", file=sys.stderr)
    found = ordered(found)
    show(found)
    if not args.faults:
        write(found, OUTPUT)
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(healthy_page(page(found), healthy.kept(healthy.OUTPUT)))
    return 0 if all(row["ok"] for row in found) else 1


def kept(path: Path) -> list[Row]:
    """The rows of earlier boots, but for those of lost guests and of a boot that was broken off."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    rows: list[Row] = []
    boot: list[Row] = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # the last one was cut
            break
        boot.append(row)
        if len(boot) == len(SUBSETS):
            rows += [] if any(one["got"] == LOST for one in boot) else boot
            boot = []
    return rows


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
