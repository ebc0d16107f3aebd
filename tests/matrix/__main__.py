"""`make matrix`: every step on every kernel, in guests; a table, also in the docs and the README.

What is done is kept in build/matrix/, and only the rest, and rows with a failed
cell, are done when it is run again; `--again` begins anew.  A row that hangs is
ended, and says so.  Exit status is 1 when a cell failed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.matrix.rows import FAILED, ROWS, STEPS, Cell, Row, cells
from tests.matrix.table import page, show, summary

KEPT = Path("build/matrix")
OUTPUT = Path("build/matrix.json")
PAGE = Path("docs/matrix.md")
README = Path("README.md")
BEGIN, END = "<!-- make matrix writes: -->\n", "<!-- until here -->\n"
"""Around the table in the README."""
ROW_SECONDS = 1500
"""What a row may take; most of it is emulation."""
MOST_JOBS = 2


def main() -> int:
    """Do what is left, show all, write all."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these (6.12-s390x)")
    parser.add_argument("--again", action="store_true", help="also what is done")
    parser.add_argument("--jobs", type=int, choices=range(1, MOST_JOBS + 1), default=MOST_JOBS)
    args = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    wanted = [row for row in ROWS if not args.rows or row.name in args.rows]
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for _ in pool.map(do, [row for row in wanted if args.again or not _finished(row)]):
            _write()
    found = _write()
    show(found)
    return int(any(cell.result == FAILED for cell in found))


def do(row: Row) -> None:
    """One row, in a process that is ended when it takes too long."""
    _kept(row).unlink(missing_ok=True)
    argv = [sys.executable, "-m", "tests.matrix.row", row.name, str(_kept(row))]
    with subprocess.Popen(argv, start_new_session=True) as process:
        try:
            process.wait(ROW_SECONDS)
            why = f"the row ended with status {process.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its guests die with it
            why = f"hung: the row's {ROW_SECONDS} s were over"
    done = _done(row)
    told = {step: done[step] for step in done}
    for cell in cells(row, done, why):
        told[cell.step] = {"result": cell.result, "reason": cell.reason, "seconds": cell.seconds}
    _kept(row).write_text(json.dumps(told))


def _write() -> list[Cell]:
    """What is known so far, into every file."""
    found = [
        cell for row in ROWS if _kept(row).exists() for cell in cells(row, _done(row), "not done")
    ]
    OUTPUT.write_text(json.dumps([cell.to_json() for cell in found], indent=1) + "\n")
    if len(found) == len(ROWS) * len(STEPS):
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(found))
        before, begin, rest = README.read_text().partition(BEGIN)
        _, end, behind = rest.partition(END)
        table = "\n".join(("", *summary(found), "", ""))
        README.write_text(before + begin + table + end + behind)
    return found


def _kept(row: Row) -> Path:
    return KEPT / f"{row.name}.json"


def _finished(row: Row) -> bool:
    done = _done(row)
    return all(step in done and done[step]["result"] != FAILED for step in STEPS)


def _done(row: Row) -> dict[str, dict[str, Any]]:
    """What a row's file says; nothing when there is none."""
    try:
        done: dict[str, dict[str, Any]] = json.loads(_kept(row).read_bytes())
    except FileNotFoundError:
        return {}
    return done


if __name__ == "__main__":
    sys.exit(main())
