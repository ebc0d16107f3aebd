"""SVG: the page-table entries around the page."""

from __future__ import annotations

from zaptrace.model.pte_window import TableWindow
from zaptrace.report.html.markup import Markup, joined, tag
from zaptrace.report.html.timeline import picture

COLUMNS = 32
_LEFT, _CELL, _GAP = 148, 22, 3
_STEP = _CELL + _GAP


def table_map(window: TableWindow) -> Markup:
    """Return a square a PTE, `COLUMNS` in a row; the page's own is ringed.

    Rows that lie outside of the mapping and map nothing are left out.
    """
    kinds = [_kind(window, at, pfn) for at, pfn in enumerate(window.pfns)]
    rows = [
        row
        for row in range(-(-len(kinds) // COLUMNS))
        if set(kinds[row * COLUMNS : (row + 1) * COLUMNS]) != {"out"}
    ]
    body: list[str] = []
    for line, row in enumerate(rows):
        y = line * _STEP + 4
        address = window.start + row * COLUMNS * window.page_size
        body.append(tag("text", f"{address:#x}", x=_LEFT - 14, y=y + 15, class_="end mono soft"))
        for at in range(row * COLUMNS, min((row + 1) * COLUMNS, len(kinds))):
            body.append(_cell(window, at, kinds[at], y))
    at = (window.address - window.start) // window.page_size
    if at // COLUMNS in rows and at < len(kinds):
        body.append(_ring(_x(at), rows.index(at // COLUMNS) * _STEP + 4))
    height = len(rows) * _STEP + 6
    return joined(picture("Page-table entries around the page", height, body), _key())


def _x(at: int) -> int:
    return _LEFT + at % COLUMNS * _STEP


def _kind(window: TableWindow, at: int, pfn: int | None) -> str:
    if pfn is None:
        address = window.start + at * window.page_size
        return "none" if window.vma is None or address in window.vma else "out"
    return "same" if pfn == window.pfn else "present"


def _cell(window: TableWindow, at: int, kind: str, y: int) -> Markup:
    x, pfn = _x(at), window.pfns[at]
    maps = "no PTE" if pfn is None else f"pfn {pfn:#x}"
    title = tag("title", f"{window.start + at * window.page_size:#x}: {maps}")
    if kind == "out":  # a dot: nothing can be mapped here
        return tag("circle", title, cx=x + _CELL / 2, cy=y + _CELL / 2, r=2, class_=kind)
    square = tag("rect", title, x=x, y=y, width=_CELL, height=_CELL, rx=3, class_=kind)
    if kind != "same":
        return square
    return joined(square, _cross(x + 6, y + 6, _CELL - 12))


def _cross(x: float, y: float, size: float) -> Markup:
    """Return the cross that marks a PTE of this very page where there are no colours."""
    return tag("path", d=f"M{x} {y}l{size} {size}m0 {-size}l{-size} {size}", class_="cross")


def _ring(x: int, y: int) -> Markup:
    wide = _CELL + 4
    return tag("rect", x=x - 2, y=y - 2, width=wide, height=wide, rx=4, class_="ring")


def _key() -> Markup:
    words = (
        ("present", "present PTE"),
        ("none", "no PTE"),
        ("same", "a PTE that maps this page"),
        ("ring", "where this page was mapped"),
    )
    square = {"x": 1.5, "y": 1.5, "width": 11, "height": 11, "rx": 2}
    shown = [
        (
            joined(tag("rect", class_=kind, **square), _cross(4, 4, 6) if kind == "same" else ""),
            said,
        )
        for kind, said in words
    ]
    shown.append((tag("circle", cx=7, cy=7, r=2, class_="out"), "outside of the mapping"))
    signs = [tag("span", tag("svg", mark, viewBox="0 0 14 14"), said) for mark, said in shown]
    return tag("p", signs, class_="key")
