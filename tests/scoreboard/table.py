"""The scoreboard for people: on a terminal, and in the documentation."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from tests.scoreboard.board import Row
from tests.scoreboard.expected import OWN, PARTS, SUBSETS

HEAD = """\
# Scoreboard

Every fault that the lab kernel can have, booted once on each architecture and
explained from every subset of what the boot left: **c** the capture of the
events, **s** the console's splats, **v** the dump. `make scoreboard` made this
page ({date}); what is expected, and why not more, stands in
`tests/scoreboard/expected.py`.

A tick is the fault's own verdict. A number is a verdict that says less, as it
must: the evidence leaves more than one reading, for the reason below. A cross
is wrong.
"""


def show(rows: list[Row]) -> None:
    console = Console(width=100, highlight=False)
    table = Table(title="zaptrace scoreboard")
    for column in ("fault", "arch", *SUBSETS):
        table.add_column(column, justify="left" if len(column) > 3 else "center")
    for name, arch, cells in _lines(rows):
        table.add_row(name, arch, *cells)
    console.print(table)
    for line in _notes(rows):
        console.print(line)
    for row in rows:
        if not row["ok"]:
            console.print(f"{row['fault']} {row['arch']} {row['evidence']}: {_wrong(row)}")
    console.print(_clean(rows))


def page(rows: list[Row]) -> str:
    """The same as Markdown."""
    lines = [HEAD.format(date=datetime.datetime.now(tz=datetime.UTC).date().isoformat())]
    lines.append("| fault | verdict | arch | " + " | ".join(SUBSETS) + " |")
    lines.append("|---|---|---|" + ":-:|" * len(SUBSETS))
    for name, arch, cells in _lines(rows):
        own = OWN[name.removesuffix("-large")]
        lines.append(f"| {name} | `{own}` | {arch} | " + " | ".join(cells) + " |")
    lines += ["", *_notes(rows), "", _clean(rows), ""]
    return "\n".join(lines)


def _lines(rows: list[Row]) -> Iterator[tuple[str, str, list[str]]]:
    reasons = _reasons(rows)
    faulty = [row for row in rows if row["fault"] != "none"]
    for name, arch in dict.fromkeys((row["fault"], row["arch"]) for row in faulty):
        mine = {
            tuple(row["evidence"]): row
            for row in rows
            if (row["fault"], row["arch"]) == (name, arch)
        }
        found = (mine.get(tuple(PARTS[part] for part in subset)) for subset in SUBSETS)
        yield name, arch, [_cell(row, reasons) for row in found]


def _cell(row: Row | None, reasons: list[tuple[str, str]]) -> str:
    if row is None:
        return ""
    if not row["ok"]:
        return f"✗ {row['got']}"
    return "✓" if row["why"] is None else str(reasons.index((row["expected"], row["why"])) + 1)


def _reasons(rows: list[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["expected"], row["why"]) for row in rows if row["why"]))


def _notes(rows: list[Row]) -> list[str]:
    return [
        f"{number}. `{verdict}`: {why}."
        for number, (verdict, why) in enumerate(_reasons(rows), start=1)
    ]


def _wrong(row: Row) -> str:
    return f"expected {row['expected']}, got {row['got']}; {'; '.join(row['doubts'])}"


def _clean(rows: list[Row]) -> str:
    clean = [row for row in rows if row["fault"] == "none"]
    good = sum(row["ok"] for row in clean)
    right = sum(row["ok"] for row in rows if row["fault"] != "none")
    return (
        f"{right} of {len(rows) - len(clean)} verdicts on faults are right; {good} of {len(clean)} "
        "healthy boots, two at a time on two cores, are `clean`."
    )
