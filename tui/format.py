"""How kinds, clocks, counters and tasks are written: one way, in every view."""

from __future__ import annotations

import numpy as np

from tui.feed.symbols import Names
from zaptrace.explain.event_view import PAGE_MAPCOUNT_RESERVE
from zaptrace.model.events import ABSENT, ABSENT_I32, KINDS, Kind, Records
from zaptrace.model.task_name import task_name
from zaptrace.report.words import count as counted
from zaptrace.report.words import cut, plain

Piece = tuple[str, str]
"""Text and the name of its style ("" for none): "dim", "bad", "warn", "good", "head", "key"."""

_NS = 1_000_000_000
_PAGE_SHIFT = 12


def kind_of(record: Records) -> Kind:
    """Return the kind of an array of one record."""
    return Kind(int(record["kind"][0]))


def number_of(record: Records, field: str, absent: int = ABSENT) -> int | None:
    """Return a field of an array of one record, None where it has none."""
    value = int(record[field][0])
    return None if value == absent else value


def clock(ns: int | None) -> str:
    """Return `1.234567`: seconds of boot clock."""
    return "-" if ns is None else f"{ns // _NS}.{ns % _NS // 1000:06d}"


def gap(ns: int) -> str:
    """Return a distance in µs as a timeline shows it: `+3.5 µs`."""
    return f"{ns / 1000:+,.1f} µs"


def task(record: Records) -> str:
    """Return `mount/41`."""
    comm = bytes(record["comm"][0]).decode("utf-8", "replace")
    pid = number_of(record, "pid", -1)
    return task_name(plain(comm), pid)


def page(record: Records) -> str:
    """Return `0xa80`, `0xa80+3` for a range, or the struct page where that is all."""
    pfn, nr = number_of(record, "pfn"), int(record["nr"][0])
    if pfn is None:
        address = number_of(record, "page")
        return "-" if address is None else f"page {address:#x}"
    return f"{pfn:#x}+{nr}" if nr > 1 else f"{pfn:#x}"


def mapcount_of(record: Records) -> int | None:
    """Return raw_mapcount + 1; None when absent, or when the field holds a page type."""
    raw = number_of(record, "raw_mapcount", ABSENT_I32)
    return None if raw is None or raw < PAGE_MAPCOUNT_RESERVE else raw + 1


def count(value: int | None) -> str:
    """Return a small number, `-` when absent."""
    return "-" if value is None else str(value)


def detail(record: Records, names: Names) -> str:
    """Return what else an event says."""
    kind = kind_of(record)
    if kind is Kind.LOST:
        return f"{int(record['nr'][0]):,} events lost here"
    if kind in (Kind.BAD_PAGE, Kind.BAD_PTE):
        return _complaint(record, names)
    start, end = number_of(record, "addr"), number_of(record, "end")
    if not KINDS[kind].about_page and start is not None and end is not None and end >= start:
        return f"{counted((end - start) >> _PAGE_SHIFT, 'PTE')} from {start:#x}"
    if kind is Kind.RMAP_REMOVE and (caller := number_of(record, "caller")) is not None:
        return f"from {names.symbol(caller)}"
    if kind is Kind.PAGE_FREE and (order := int(record["order"][0])) != 255:
        return f"order {order}"
    return ""


def _complaint(record: Records, names: Names) -> str:
    reason = names.string(int(record["reason"][0]))
    pte = number_of(record, "pte")
    said = [plain(reason)] if reason else []
    if pte is not None:
        said.append(f"pte {pte:#x}")
    return " ".join(said)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Exactly `width` columns."""
    text = cut(text, width)
    return text.rjust(width) if right else text.ljust(width)


def sparkline(values: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> str:
    """Return a bar of one row a value: ` ` for nothing, `▁` to `█`; the highest is full."""
    top = int(values.max(initial=0))
    if not top:
        return " " * len(values)
    # Anything at all is at least the lowest bar.
    height = np.ceil(values * (len(_BARS) - 1) / top).astype(int)
    return "".join(_BARS[one] for one in height)


_BARS = " ▁▂▃▄▅▆▇█"
