"""The scoreboard for people: on a terminal, and in the documentation."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from tests.scoreboard import elsewhere
from tests.scoreboard.expected import PARTS, SUBSETS, own
from tests.scoreboard.truth import Row

HEAD = """\
# Scoreboard

Every fault that the lab kernels can have, booted once on each kernel and
architecture and explained from every subset of what the boot left: **c** the
capture of the events, **s** the console's splats, **v** the dump, **l** the recorded
life of the pages. The last lines
of a kernel are healthy boots, with several workloads at a time. `make scoreboard`
made this page ({date}); what is expected, and why not more, stands in
`tests/scoreboard/expected.py`, and for faults of other functions than the zap in
`tests/scoreboard/elsewhere.py`.

A tick is the fault's own verdict, of a page that was struck, by its task and in
the function at fault: the victims say in advance which page that is. A number
is a verdict that says less, as it must: the evidence leaves more than one
reading, for the reason below, and the verdict names them. A cross is wrong.

No evidence but the life of a page shows who is at fault when it is no zap: with it a
tick is the kind, with the function that did it. Without it a tick is `unexplained`, or a
weaker kind that is true all the same, with the true cause named among the readings, and
no sentence that is false.
"""

ONE_CPU = (
    "7.3 has one CPU on s390x (docs/matrix.md), and no faults of large folios: QEMU 7.2 has no "
    "EDAT,\nwithout which that kernel does not set up its lists of deferred splits."
)
HEALTHY = "## Healthy boots"
"""The headline of `make scoreboard HEALTHY=50`'s table."""


def show(rows: list[Row]) -> None:
    console = Console(width=100, highlight=False)
    for kernel, mine in _kernels(rows):
        table = Table(title=f"zaptrace scoreboard: {kernel}")
        for column in ("fault", "arch", *SUBSETS):
            table.add_column(column, justify="left" if len(column) > 3 else "center")
        for name, arch, cells in _lines(mine, _reasons(rows)):
            table.add_row(name, arch, *cells)
        console.print(table)
    for line in _notes(rows):
        console.print(line)
    for row in rows:
        if not row["ok"]:
            where = f"{row['kernel']} {row['fault']} {row['arch']} {row['evidence']}"
            console.print(f"{where}: {_wrong(row)}")
    console.print(_clean(rows))


def page(rows: list[Row]) -> str:
    """The same as Markdown."""
    lines = [HEAD.format(date=datetime.datetime.now(tz=datetime.UTC).date().isoformat())]
    for kernel, mine in _kernels(rows):
        lines += ["", f"## {kernel}", ""] if lines[-1] else [f"## {kernel}", ""]
        lines.append("| fault | verdict | arch | " + " | ".join(SUBSETS) + " |")
        lines.append("|---|---|---|" + ":-:|" * len(SUBSETS))
        for name, arch, cells in _lines(mine, _reasons(rows)):
            kinds = " or ".join(f"`{kind}`" for kind in own(name).split(" or "))
            lines.append(f"| {name} | {kinds} | {arch} | " + " | ".join(cells) + " |")
        lines += ["", _clean(mine)]
    lines += ["", *_notes(rows), "", ONE_CPU, ""]
    return "\n".join(lines)


def healthy_page(text: str, boots: list[Row]) -> str:
    """The page with its table of healthy boots, new or replaced.

    Args:
        text: the page so far.
        boots: build/healthy.json; without any the page is as it was.
    """
    if not boots:
        return text
    lines = [HEALTHY, "", "| kernel | arch | boots | clean | not clean |", "|---|---|--:|--:|---|"]
    for pair in sorted({(one["series"], one["arch"]) for one in boots}):
        mine = [one for one in boots if (one["series"], one["arch"]) == pair]
        wrong = [one for one in mine if one["kind"] != "clean"]
        named = ", ".join(f"{one['number']} ({one['variant']}): `{one['kind']}`" for one in wrong)
        cells = (*pair, str(len(mine)), str(len(mine) - len(wrong)), named)
        lines.append("| " + " | ".join(cells) + " |")
    ways = ", ".join(dict.fromkeys(str(one["variant"]) for one in boots))
    lines += ["", f"In turn: {ways}.", ""]
    before, found, rest = text.partition(HEALTHY)
    after = rest[rest.find("\n## ") :] if "\n## " in rest else ""
    return (before if found else before.rstrip() + "\n\n") + "\n".join(lines) + after


def _kernels(rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each series, and the release that booted."""
    for series in dict.fromkeys(row["series"] for row in rows):
        mine = [row for row in rows if row["series"] == series]
        releases = dict.fromkeys(row["kernel"] for row in mine if row["kernel"] != series)
        yield " and ".join(releases) or series, mine


def _lines(rows: list[Row], reasons: list[tuple[str, str]]) -> Iterator[tuple[str, str, list[str]]]:
    """A line for each fault and architecture; of several healthy boots the worst is shown."""
    for name, arch in dict.fromkeys((row["fault"], row["arch"]) for row in rows):
        mine = [row for row in rows if (row["fault"], row["arch"]) == (name, arch)]
        cells = []
        for subset in SUBSETS:
            same = [row for row in mine if row["evidence"] == [PARTS[part] for part in subset]]
            cells.append(_cell(min(same, key=lambda row: row["ok"], default=None), reasons))
        yield name, arch, cells


def _cell(row: Row | None, reasons: list[tuple[str, str]]) -> str:
    if row is None:
        return ""
    if not row["ok"]:
        return f"✗ {row['wrong'][0]}"
    return "✓" if row["why"] is None else str(reasons.index((row["expected"], row["why"])) + 1)


def _reasons(rows: list[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row["expected"], row["why"]) for row in rows if row["why"]))


def _notes(rows: list[Row]) -> list[str]:
    return [
        f"{number}. `{verdict}`: {why}."
        for number, (verdict, why) in enumerate(_reasons(rows), start=1)
    ]


def _wrong(row: Row) -> str:
    said = "; ".join((*row["wrong"], *row["doubts"]))
    return f"expected {row['expected']}: {said}"


def _clean(rows: list[Row]) -> str:
    faulty = [row for row in rows if row["fault"] != "none"]
    strange = [row for row in faulty if row["fault"] in elsewhere.FAULTS]
    healthy = [row for row in rows if row["fault"] == "none"]
    whole = [row for row in healthy if len(row["evidence"]) == len(PARTS)]
    return (
        f"{sum(row['ok'] for row in faulty)} of {len(faulty)} verdicts on faults are right "
        f"({sum(row['ok'] for row in strange)} of {len(strange)} on those of other functions than "
        "the zap); "
        f"{sum(row['ok'] for row in whole)} of {len(whole)} healthy boots under load are `clean` "
        f"by all of their evidence, and {sum(row['ok'] for row in healthy)} of {len(healthy)} "
        "verdicts on parts of it are right."
    )
