"""`make bench`: measures, prints a table, writes build/bench.json.

Each bench module has `rows(...)`, which yields rows of the shared schema
(tests/schemas/bench.schema.json).  A number that was not measured is absent: when a module fails,
what it says stands at the end, and the others go on.  Exit status is 1 then, and when a row misses
its limit.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench import (
    bench_audit,
    bench_commands,
    bench_life,
    bench_live,
    bench_repro,
    bench_resolve,
    bench_splat,
    bench_tui,
)
from tests.bench.limits import missed, title

Row = dict[str, Any]
Part = Callable[[], Iterable[Row]]
OUTPUT = Path("build/bench.json")
_LIMIT = {True: "met", False: "MISSED", None: ""}


def parts(folder: Path) -> list[Part]:
    """What is measured, in order: the first one builds the kernel and makes the run for others."""
    run = folder / "run"
    return [
        lambda: bench_repro.rows(run),
        lambda: bench_life.rows(run),
        lambda: bench_resolve.rows(Path(json.loads((run / "run.json").read_text())["vmlinux"])),
        lambda: bench_audit.rows(folder),
        lambda: bench_live.rows(folder),
        bench_tui.rows,
        bench_commands.rows,
        lambda: bench_splat.rows(run / "console.log"),
    ]


def measure(these: Iterable[Part]) -> tuple[list[Row], list[str]]:
    """All rows, each written when it is there, and what the parts said that failed."""
    rows: list[Row] = []
    failed = []
    _write(rows)  # another run's are not this one's
    for part in these:
        try:
            for row in part():
                rows.append(row)
                _write(rows)
        # Whatever it is: the other parts' numbers are as good as without.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            traceback.print_exc()
            failed.append(" ".join(f"{type(error).__name__}: {error}".split()))
    return rows, failed


def _write(rows: list[Row]) -> None:
    OUTPUT.write_text(json.dumps(rows, indent=1) + "\n")


def show(rows: list[Row], failed: list[str]) -> None:
    """The table for people."""
    console = Console(width=80, highlight=False)
    table = Table(title="zaptrace bench", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("what", overflow="fold", min_width=21, ratio=4)
    table.add_column("value", justify="right")
    table.add_column("peer", overflow="fold", ratio=3)
    table.add_column("ratio", justify="right")
    table.add_column("limit")
    for row in rows:
        peer = f"{row['peer']}: {_number(row['peer_value'])}" if row.get("peer") else ""
        ratio = _number(row["ratio"]) if row.get("ratio") else ""
        value = f"{_number(row['value'])} {row['unit']}"
        table.add_row(title(row), value, peer, ratio, _LIMIT[row.get("met")])
    console.print(table)
    for row in rows:
        console.print(f"{title(row)}: {row['conditions']}")
    for name in missed(rows):
        console.print(f"MISSED: {name}")
    for said in failed:
        console.print(f"NOT MEASURED: {said}", markup=False)


def _number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def main() -> int:
    """Measure all, show all, write all."""
    argparse.ArgumentParser("make bench", description=__doc__).parse_args()
    OUTPUT.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="zaptrace-bench-") as folder:
        rows, failed = measure(parts(Path(folder)))
    show(rows, failed)
    return int(bool(missed(rows) or failed))


if __name__ == "__main__":
    sys.exit(main())
