"""SVG: the page-table entries around the page."""

from __future__ import annotations

from zaptrace.model.window import TableWindow
from zaptrace.report.markup import Markup, joined, tag
from zaptrace.report.timeline import picture

COLUMNS = 32
_LEFT, _CELL, _GAP = 148, 22, 3
_STEP = _CELL + _GAP


def table_map(window: TableWindow) -> Markup:
    """A square a PTE, `COLUMNS` in a row; the page's own is ringed."""
    body: list[str] = []
    rows = -(-len(window.pfns) // COLUMNS)
    for row in range(rows):
        address = window.start + row * COLUMNS * window.page_size
        y = row * _STEP + 4
        label = tag("text", f"{address:#x}", x=_LEFT - 14, y=y + 15, class_="end mono soft")
        body.append(label)
    for at, pfn in enumerate(window.pfns):
        body.append(_cell(window, at, pfn))
    at = (window.address - window.start) // window.page_size
    if 0 <= at < len(window.pfns):
        body.append(_ring(at))
    return joined(picture("Page-table entries around the page", rows * _STEP + 6, body), _key())


def _where(at: int) -> tuple[int, int]:
    return _LEFT + at % COLUMNS * _STEP, at // COLUMNS * _STEP + 4


def _kind(window: TableWindow, at: int, pfn: int | None) -> str:
    if pfn is None:
        address = window.start + at * window.page_size
        return "none" if window.vma is None or address in window.vma else "out"
    return "same" if pfn == window.pfn else "present"


def _cell(window: TableWindow, at: int, pfn: int | None) -> Markup:
    x, y = _where(at)
    maps = "no PTE" if pfn is None else f"pfn {pfn:#x}"
    title = tag("title", f"{window.start + at * window.page_size:#x}: {maps}")
    kind = _kind(window, at, pfn)
    if kind == "out":  # a dot: nothing can be mapped here
        return tag("circle", title, cx=x + _CELL / 2, cy=y + _CELL / 2, r=2, class_=kind)
    return tag("rect", title, x=x, y=y, width=_CELL, height=_CELL, rx=3, class_=kind)


def _ring(at: int) -> Markup:
    x, y = _where(at)
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
    shown = [(tag("rect", class_=kind, **square), said) for kind, said in words]
    shown.append((tag("circle", cx=7, cy=7, r=2, class_="out"), "outside of the mapping"))
    signs = [tag("span", tag("svg", mark, viewBox="0 0 14 14"), said) for mark, said in shown]
    return tag("p", signs, class_="key")
