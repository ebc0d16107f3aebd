"""Events as text: one line each for people, or one JSON object a line for programs."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

import numpy as np

from zaptrace.model.events import (
    ABSENT,
    ABSENT_I32,
    ABSENT_VALUE,
    KINDS,
    NO_CPU,
    TROUBLE,
    Events,
    Kind,
    Origin,
    Records,
    is_kind,
)
from zaptrace.model.task_name import task_name
from zaptrace.report.words import plain

NS_PER_US, US_PER_S = 1000, 1_000_000
_MARKS = {**dict.fromkeys(TROUBLE, "!"), Kind.LOST: "?"}
_LABELS = {int(kind): f"{_MARKS.get(kind, ' ')} {kind.name.lower():<11}" for kind in Kind}
_COUNTED = tuple(kind for kind, row in KINDS.items() if not row.about_page)
"""Kinds that always say how many; of the others one page goes without saying."""


def to(file: TextIO, form: Callable[[Events], Iterable[str]]) -> Callable[[Events], None]:
    """Return a sink for pump(): each increment's lines, written at once."""

    def write(events: Events) -> None:
        file.write("".join(form(events)))
        file.flush()

    return write


class Plain:
    """Lines for people, of 80 columns or little more.

    Time since boot, CPU, task, `!` what is wrong or `?` lost, the event, and what
    it has of: pfn, user addresses, pages, mapcount, refcount, PTE, reason.
    """

    _HEADER = f"{'time':>11} cpu {'task':<15}   {'event':<11} pfn, addresses, counters\n"

    def __init__(self) -> None:
        self._strings: dict[int, str] = {}
        self._started = False

    def __call__(self, events: Events) -> Iterator[str]:
        """Yield the lines of one increment, each with its newline; a header before the first."""
        if not self._started:
            self._started = True
            yield self._HEADER
        self._strings |= {number: plain(text) for number, text in events.strings.items()}
        records = events.records
        names = ("clock", "cpu", "comm", "pid", "kind")
        heads = zip(*(records[name].tolist() for name in names), strict=True)
        for head, about in zip(heads, zip(*self._columns(records), strict=True), strict=True):
            clock, cpu, comm, pid, kind = head
            yield (
                f"{_time(clock):>12} {'-' if cpu == NO_CPU else cpu:>2} {_task(comm, pid):<15} "
                f"{_LABELS[kind]}{''.join(about)}\n"
            )

    def _columns(self, records: Records) -> Iterator[list[str]]:
        """Yield what is said of each field, "" where it is absent."""
        pfn, nr = records["pfn"], records["nr"]
        said = (nr > 1) | is_kind(records, _COUNTED)
        counts = _mapcounts(records)
        yield _said(" {:#x}", pfn, ABSENT)
        yield _said(" page {:#x}", np.where(pfn == ABSENT, records["page"], ABSENT), ABSENT)
        yield _said(" {:x}", records["addr"], ABSENT)
        yield _said("-{:x}", np.where(records["addr"] == ABSENT, ABSENT, records["end"]), ABSENT)
        yield _said(" nr {}", np.where(said, nr, 0), 0)
        yield _said(" map {}", counts, ABSENT_I32)
        yield _said(" ref {}", records["refcount"], ABSENT_I32)
        yield _said(" pte {:#x}", records["pte"], ABSENT)
        yield [f" {self._strings.get(n, '?')}" if n else "" for n in records["reason"].tolist()]


_NUMBERS = (
    *("clock", "cpu", "pid", "tgid", "page", "pfn", "folio", "mm", "vma", "addr", "end", "pte"),
    *("nr", "refcount", "order", "site", "caller"),
)
"""Fields that are numbers in JSON too."""


class JsonLines:
    """One JSON object an event: numbers as numbers, what is absent left out.

    Names are those of model.events, with `mapcount` (as the kernel prints it) for
    `raw_mapcount`, `reason` as text, `stack` as a list of {address, symbol} and
    `site_symbol` and `caller_symbol` where the recorder could name them.
    """

    def __init__(self) -> None:
        self._known = Events()
        self._encode = json.JSONEncoder(separators=(",", ":")).encode

    def __call__(self, events: Events) -> Iterator[str]:
        """Yield the lines of one increment, each with its newline."""
        self._known.strings |= events.strings
        self._known.stacks |= events.stacks
        self._known.symbols |= events.symbols
        names = ("kind", "comm", "mapcount", *_NUMBERS, "reason", "stack", "origin")
        numbers = [ABSENT_VALUE[name] for name in _NUMBERS]
        absent = (None, "", ABSENT_I32, *numbers, 0, 0, int(Origin.PROBE))
        for row in zip(*_json_columns(events.records), strict=True):
            found: dict[str, Any] = {
                name: value
                for name, value, gone in zip(names, row, absent, strict=True)
                if value != gone
            }
            yield self._encode(self._resolved(found)) + "\n"

    def _resolved(self, found: dict[str, Any]) -> dict[str, Any]:
        symbols = self._known.symbols
        if "reason" in found:
            found["reason"] = self._known.strings.get(found["reason"])
        if "stack" in found:
            stack = self._known.stacks.get(found["stack"], ())
            found["stack"] = [
                {"address": one, **({"symbol": symbols[one]} if one in symbols else {})}
                for one in stack
            ]
        if "origin" in found:
            found["origin"] = Origin(found["origin"]).name.lower()
        for name in ("site", "caller"):
            symbol = symbols.get(found.get(name, ABSENT))
            if symbol is not None:
                found[f"{name}_symbol"] = symbol
        return found


def _json_columns(records: Records) -> Iterator[list[Any]]:
    names = {int(kind): kind.name.lower() for kind in Kind}
    yield [names[kind] for kind in records["kind"].tolist()]
    yield [_comm(comm) for comm in records["comm"].tolist()]
    yield _mapcounts(records).tolist()
    for name in (*_NUMBERS, "reason", "stack", "origin"):
        yield records[name].tolist()


def _mapcounts(records: Records) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Mapcounts, ABSENT_I32 where a record has none."""
    raw = records["raw_mapcount"].astype(np.int64)
    return np.where(raw == ABSENT_I32, raw, raw + 1)


def _said(form: str, values: np.ndarray[Any, Any], absent: int) -> list[str]:
    say = form.format
    return ["" if value == absent else say(value) for value in values.tolist()]


def _time(clock: int) -> str:
    if clock == ABSENT:
        return "-"
    seconds, us = divmod(clock // NS_PER_US, US_PER_S)
    return f"{seconds}.{us:06}"


@functools.lru_cache(4096)
def _comm(comm: bytes) -> str:
    return comm.decode("utf-8", "replace")


@functools.lru_cache(4096)
def _task(comm: bytes, pid: int) -> str:
    return task_name(plain(_comm(comm)), None if pid == -1 else pid)
