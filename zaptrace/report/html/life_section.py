"""HTML: a page's life, the counters as steps, each store with its stack."""

from __future__ import annotations

from collections.abc import Sequence

from zaptrace.life.named_life import STRAY, Frame, NamedWrite
from zaptrace.life.page_life import ENTIRE, ENTRY, HUGE_ENTRY, Role
from zaptrace.life.page_members import MAPCOUNT, REFCOUNT, TYPED_BELOW, PageFields
from zaptrace.report.html.markup import Markup, joined, tag
from zaptrace.report.html.timeline import picture
from zaptrace.report.life import ShownLife, change_text

MOST_STORES = 200
"""Stores that are shown, the last ones: a suspect has some 40 that count."""
_LANES = ("refcount", "mapcount", "PTEs")
_LEFT, _RIGHT, _LANE = 90.0, 930.0, 44.0


def life_content(life: ShownLife) -> Markup:
    """Return the counters as steps, and below a line for each store that opens its stack."""
    stores = [one for one in life.named.writes if _counts(one)][-MOST_STORES:]
    if not stores:
        return tag("p", "No store changed its counters.")
    left = [tag("li", one) for one in life.sentences]
    start = stores[0].write.ns
    rows = [_store(number, one, life.fields, start) for number, one in enumerate(stores, 1)]
    return joined(_steps(stores), tag("ul", left) if left else "", *rows)


def _counts(one: NamedWrite) -> bool:
    names = (MAPCOUNT, REFCOUNT, ENTRY, ENTIRE, HUGE_ENTRY)
    changes = any(change.stored and change.name in names for change in one.write.changes)
    return one.role == STRAY or changes


def _steps(stores: Sequence[NamedWrite]) -> Markup:
    """Return the counters after each store; stores are as far apart as others."""
    wide = (_RIGHT - _LEFT) / max(len(stores), 1)
    body: list[str] = []
    for lane, values in enumerate(_values(stores)):
        low, high = min((*values, 0)), max((*values, 1))
        base = 14 + (lane + 1) * _LANE

        def y_of(value: int, base: float = base, low: int = low, high: int = high) -> float:
            return base - 8 - (_LANE - 18) * (value - low) / (high - low)

        path = f"M{_LEFT:.1f} {y_of(0):.1f}"
        for at, value in enumerate(values):
            path += f"H{_LEFT + wide * (at + 0.5):.1f}V{y_of(value):.1f}"
        body.append(tag("text", _LANES[lane], x=20, y=base - 12))
        body.append(tag("text", str(values[-1]), x=_RIGHT + 12, y=y_of(values[-1]) + 4))
        path += f"H{_RIGHT:.1f}"
        body.append(tag("path", d=path, class_="axis", fill="none"))
    bottom = 14 + len(_LANES) * _LANE
    stop = next((at for at, one in enumerate(stores) if one.write.after_stop), None)
    if stop is not None:
        x = _LEFT + wide * stop
        body.append(tag("line", x1=x, x2=x, y1=8, y2=bottom, class_="mark dash"))
    for at in {0, len(stores) - 1}:
        where = {"x": _LEFT + wide * (at + 0.5), "y": bottom + 12}
        body.append(tag("text", f"{at + 1}", class_="soft mid", **where))
    return picture("The page's counters after each store", bottom + 18, body)


def _values(stores: Sequence[NamedWrite]) -> tuple[list[int], list[int], list[int]]:
    """Return refcount, mapcount and number of PTEs after each store."""
    refcounts, mapcounts, entries = [], [], []
    refcount = mapcount = ptes = 0
    for one in stores:
        ptes += {Role.PTE_SET.value: 1, Role.PTE_CLEARED.value: -1}.get(one.role, 0)
        for change in one.write.changes:
            if change.name == REFCOUNT:
                refcount = change.after
            elif change.name == MAPCOUNT:
                mapcount = change.after + 1 if change.after >= TYPED_BELOW else 0
        refcounts.append(refcount)
        mapcounts.append(mapcount)
        entries.append(ptes)
    return refcounts, mapcounts, entries


def _store(number: int, one: NamedWrite, fields: PageFields, start: int) -> Markup:
    """Return a line that opens to the stack."""
    changes = ", ".join(change_text(change, fields) for change in one.write.changes)
    when = f"{(one.write.ns - start) / 1e6:+.3f} ms, CPU {one.write.cpu}"
    stop = ", after the stop" if one.write.after_stop else ""
    frames = [tag("li", tag("code", _frame(frame))) for frame in one.chain]
    return tag(
        "details",
        tag(
            "summary",
            f"{number} ",
            tag("span", f"{when}{stop} ", class_="soft"),
            tag("strong", one.role) if one.role == STRAY else one.role,
            f" {changes} ",
            tag("code", _frame(one.author)),
        ),
        tag("ul", frames),
    )


def _frame(frame: Frame) -> str:
    return f"{frame}() {frame.source or ''}".rstrip()
