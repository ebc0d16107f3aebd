"""`make bench`: measures, prints a table, writes build/bench.json.

Each bench module has `rows(...)`, which yields rows of the shared schema
(tests/schemas/bench.schema.json).  A number that was not measured is absent.  Exit status is 1
when one misses its limit.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
OUTPUT = Path("build/bench.json")
_LIMIT = {True: "met", False: "MISSED", None: ""}


def measure() -> Iterator[Row]:
    """Every row, cheapest knowledge last: the cold run builds the kernel the rest needs."""
    with tempfile.TemporaryDirectory(prefix="zaptrace-bench-") as folder:
        run = Path(folder) / "run"
        yield from bench_repro.rows(run)
        vmlinux = Path(json.loads((run / "run.json").read_text())["vmlinux"])
        yield from bench_life.rows(run)
        yield from bench_resolve.rows(vmlinux)
        yield from bench_audit.rows(Path(folder))
        yield from bench_live.rows(Path(folder))
        yield from bench_tui.rows()
        yield from bench_commands.rows()
        yield from bench_splat.rows(run / "console.log")


def show(rows: list[Row]) -> None:
    """The table for people."""
    console = Console(width=80, highlight=False)
    table = Table(title="zaptrace bench")
    for column in ("what", "value", "peer", "ratio", "limit"):
        table.add_column(column, justify="right" if column in ("value", "ratio") else "left")
    for row in rows:
        peer, ratio = row.get("peer"), row.get("ratio")
        table.add_row(
            title(row),
            f"{row['value']:,.3g} {row['unit']}",
            f"{peer}: {row['peer_value']:,.3g}" if peer else "",
            f"{ratio:,.3g}" if ratio else "",
            _LIMIT[row.get("met")],
        )
    console.print(table)
    for row in rows:
        console.print(f"{title(row)}: {row['conditions']}")
    for name in missed(rows):
        console.print(f"MISSED: {name}")


def main() -> int:
    """Measure all, show all, write all."""
    argparse.ArgumentParser("make bench", description=__doc__).parse_args()
    rows = list(measure())
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(rows, indent=1) + "\n")
    show(rows)
    return int(bool(missed(rows)))


if __name__ == "__main__":
    sys.exit(main())
