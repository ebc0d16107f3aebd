"""`make matrix`: every step on every kernel, in guests; a table, also in the docs.

What is done is kept in build/matrix/ (ROW.json, and in ROW/ what its steps left),
and only the rest, and rows with a failed cell, are done when it is run again;
`--again` begins anew.  A row that hangs is ended, and says so.  With
`--scheduler` the rows run on the workers of a Dask cluster (docs/cluster.md).
Exit status is 1 when a cell failed, 2 when there is no such cluster.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.matrix.rows import FAILED, ROWS, STEPS, Cell, Row, cells
from tests.matrix.table import page, show
from zaptrace.cli.output import complain
from zaptrace.model.errors import Missing, ZaptraceError
from zaptrace.model.paths import write_whole
from zaptrace.runs.cluster.process import FOLDER, LOG, Outcome, Task, run

KEPT = Path("build/matrix")
OUTPUT = Path("build/matrix.json")
PAGE = Path("docs/matrix.md")
DONE = "done.json"
"""In a row's folder: what its steps came to so far."""
LEFT = (".log", ".json", ".txt", ".zap")
"""What is kept of the files that steps leave: no vmcores, no programs."""
ROW_SECONDS = 1500
"""What a row may take; most of it is emulation."""
MOST_JOBS = 2


def main() -> int:
    """Do what is left, show all, write all."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these (6.12-s390x)")
    parser.add_argument("--again", action="store_true", help="also what is done")
    parser.add_argument("--jobs", type=int, choices=range(1, MOST_JOBS + 1), default=MOST_JOBS)
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster (tcp://host:8786)")
    args = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    wanted = [row for row in ROWS if not args.rows or row.name in args.rows]
    left = [row for row in wanted if args.again or not _finished(row)]
    try:
        for _ in _elsewhere(args.scheduler, left) if args.scheduler else _here(left, args.jobs):
            _write()
    except ZaptraceError as error:
        complain(str(error), error.hint)
        return int(error.exit_code)
    found = _write()
    show(found)
    return int(any(cell.result == FAILED for cell in found))


def _here(rows: Sequence[Row], jobs: int) -> Iterator[None]:
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(do, rows)


def _elsewhere(scheduler: str, rows: Sequence[Row]) -> Iterator[None]:
    try:
        from zaptrace.runs.cluster import pool
    except ImportError as error:
        fix = ".venv/bin/pip install -e '.[cluster]'"
        raise Missing(f"a cluster needs Dask's distributed: {error}", fix) from error
    waiting = collections.deque(rows)
    with pool.connected(scheduler, tell) as workers:
        while waiting or workers.running:
            for row in [waiting.popleft() for _ in range(min(workers.free(), len(waiting)))]:
                workers.give(row, task_of(row))
            for row, outcome in workers.ended():
                _keep(row, outcome)
                yield
            time.sleep(pool.LOOK_SECONDS)


def tell(line: str) -> None:
    """Show a line of a row, or of a worker."""
    print(line, file=sys.stderr if "is not used" in line else sys.stdout, flush=True)


def task_of(row: Row) -> Task:
    """A row as a worker does it."""
    words = ("-m", "tests.matrix.row", row.name, f"{FOLDER}/{DONE}", FOLDER)
    return Task(words, ROW_SECONDS, (*(f"*{end}" for end in LEFT), DONE))


def do(row: Row) -> None:
    """One row, in a process that is ended when it takes too long."""
    _kept(row).unlink(missing_ok=True)
    _keep(row, run(task_of(row), tell))


def _keep(row: Row, outcome: Outcome) -> None:
    """Write a row's results, every cell of it, and what it left."""
    left = dict(outcome.left)
    done: dict[str, dict[str, Any]] = json.loads(left.pop(DONE, b"{}"))
    for cell in list(cells(row, done, f"the row {outcome.why}")):
        done[cell.step] = {"result": cell.result, "reason": cell.reason, "seconds": cell.seconds}
    folder = KEPT / row.name
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in left.items():
        write_whole(folder / ("row.log" if name == LOG else name), data)
    _kept(row).write_text(json.dumps(done))


def _write() -> list[Cell]:
    """What is known so far, into every file."""
    found = [
        cell
        for row in ROWS
        if _kept(row).exists()
        for cell in cells(row, told(_kept(row)), "not done")
    ]
    OUTPUT.write_text(json.dumps([cell.to_json() for cell in found], indent=1) + "\n")
    if len(found) == len(ROWS) * len(STEPS):
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(page(found))
    return found


def told(out: Path) -> dict[str, dict[str, Any]]:
    """What a row's file says; nothing without one."""
    try:
        done: dict[str, dict[str, Any]] = json.loads(out.read_bytes())
    except FileNotFoundError:
        return {}
    return done


def _kept(row: Row) -> Path:
    return KEPT / f"{row.name}.json"


def _finished(row: Row) -> bool:
    done = told(_kept(row))
    return all(step in done and done[step]["result"] != FAILED for step in STEPS)


if __name__ == "__main__":
    sys.exit(main())
