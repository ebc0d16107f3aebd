"""HTML: the order of events with the counters before and after each of them."""

from __future__ import annotations

from collections.abc import Sequence

from zaptrace.model.findings import Finding
from zaptrace.model.verdict import OrderStep, Verdict
from zaptrace.report.html.markup import Markup, tag
from zaptrace.report.site_roles import is_freed_wrong, is_turn, places
from zaptrace.report.words import number

_NS_PER_US = 1000


def steps_table(verdict: Verdict, finding: Finding | None) -> Markup:
    """Return a row a step.

    Args:
        finding: what the audit says of the page, when its dump was taken last of all.
    """
    steps = verdict.order
    heads = (("", ""), ("µs", "n"), ("CPU", "n"), ("event", ""), ("mapcount", "n"))
    head = [tag("th", name, class_=kind or None) for name, kind in (*heads, ("refcount", "n"))]
    start = next((step.time_ns for step in steps if step.time_ns is not None), 0)
    raw = finding.raw_mapcount if finding else None
    mapcounts = [_plus_one(step.raw_mapcount) for step in steps] + [_plus_one(raw)]
    refcounts = [step.refcount for step in steps] + [finding.refcount if finding else None]
    rows = [
        _row(at, step, start, where, counts)
        for at, (step, where) in enumerate(zip(steps, places(verdict), strict=True))
        for counts in [(_change(mapcounts, at), _change(refcounts, at))]
    ]
    return tag("table", tag("tr", *head), rows, id="order")


def _row(
    at: int, step: OrderStep, start: int, where: str | None, counts: tuple[str, str]
) -> Markup:
    since = "-" if step.time_ns is None else f"{(step.time_ns - start) / _NS_PER_US:+.1f}"
    turn, wrong = is_turn(step), is_freed_wrong(step)
    return tag(
        "tr",
        tag("td", str(at + 1), class_="soft"),
        tag("td", since, class_="n"),
        tag("td", number(step.cpu), class_="n"),
        tag("td", step.what, tag("div", tag("code", where), class_="soft") if where else ""),
        tag("td", f"{counts[0]}{' !' if wrong else ''}", class_="n wrong" if wrong else "n"),
        tag("td", counts[1], class_="n"),
        class_="turn" if turn else None,
    )


def _plus_one(raw: int | None) -> int | None:
    return None if raw is None else raw + 1


def _change(values: Sequence[int | None], at: int) -> str:
    """Return `1 → 0`: before, and what was seen next; one number where it was not seen again."""
    before = values[at]
    if before is None:
        return "-"
    after = next((value for value in values[at + 1 :] if value is not None), None)
    return str(before) if after is None else f"{before} → {after}"
