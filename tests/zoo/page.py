"""The zoo for people: docs/zoo.md."""

from __future__ import annotations

import datetime

from tests.zoo.bugs import BUGS
from tests.zoo.results import Row

HEAD = """\
# The zoo

Bugs that upstream has shipped and fixed, each put back into a kernel, provoked by a program of
our own, and explained by `zaptrace repro` as anybody would use it. A lab kernel takes one fix away
with `zoo=NAME`; two bugs it has by itself, and Debian's current 6.1 as well. `make zoo` made this
page ({date}); what each bug does, and what the right verdict says, stands in
[tests/zoo](../tests/zoo).

A tick is the right kind, of a page that was struck, and every sentence borne out by what the boot
left. Where a page or a page table is wrong, it is the line of the function at fault as well; a
counter of an mm leaves none.
"""


def page(rows: list[Row]) -> str:
    """Return the page."""
    lines = [HEAD.format(date=datetime.datetime.now(tz=datetime.UTC).date().isoformat())]
    lines.append("| bug | arch | kernel | splat | audit | life | verdict | line at fault | s |")
    lines.append("|---|---|---|---|---|---|---|---|--:|")
    lines += [_line(row) for row in rows]
    lines += ["", _count(rows), ""]
    lines += ["## The bugs", "", "| bug | fixed by | what it does |", "|---|---|---|"]
    for name in dict.fromkeys(row["bug"] for row in rows):
        bug = BUGS[name]
        fix = f'{bug.fix} "{bug.subject}"' if bug.fix else f'"{bug.subject}"'
        lines.append(f"| [{name}](../tests/zoo/{name}/README.md) | {fix} | {bug.does} |")
    missing = [name for name in BUGS if name not in {row["bug"] for row in rows}]
    if missing:
        lines += ["", f"Not booted for this page: {', '.join(missing)}."]
    return "\n".join([*lines, ""])


def _line(row: Row) -> str:
    verdict = f"`{row['got']}` {'✓' if row['ok'] else '✗ ' + '; '.join(row['wrong'])}"
    if row.get("boots", 1) > 1:
        verdict += f" ({row['hits']} of {row['boots']} boots)"
    life = "–" if row["life"] is None else f"{row['life']} stores"
    cells = [
        row["bug"],
        row["arch"],
        row["kernel"],
        ", ".join(row["splats"]) or "none",
        ", ".join(row["audit"]) or "clean",
        life,
        verdict,
        row["culprit"] or "–",
        str(row["seconds"]),
    ]
    return f"| {' | '.join(cells)} |"


def _count(rows: list[Row]) -> str:
    bugs = {row["bug"] for row in rows}
    right = {name for name in bugs if all(row["ok"] for row in rows if row["bug"] == name)}
    named = {name for name in right if all(row["culprit"] for row in rows if row["bug"] == name)}
    return (
        f"{sum(row['ok'] for row in rows)} of {len(rows)} boots are explained right; "
        f"{len(right)} of {len(bugs)} bugs in every boot, "
        f"{len(named)} of them with the line at fault."
    )
