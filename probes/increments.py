"""Increments of a stream: the records with what they bring for the first time, and no more."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from zaptrace.ftrace.decoding import Decoder
from zaptrace.kernel.kallsyms import Kallsyms
from zaptrace.model.events import Events, Records

T = TypeVar("T")

_MOST_NOTES = 50  # a stream that breaks all the time says so often enough


class Increments:
    """Makes model.source.Source's increments.

    Args:
        decoder: grows the strings and stacks.
        symbols: names the addresses.
        meta: of the first increment; its `notes` are added to.
    """

    def __init__(self, decoder: Decoder, symbols: Kallsyms, meta: dict[str, Any]) -> None:
        self._decoder = decoder
        self._symbols = symbols
        self._meta = meta
        self._notes: list[str] = meta["notes"]
        self._short = 0
        self._strings = self._stacks = 0
        self._named: set[int] = set()

    @property
    def waiting(self) -> bool:
        """Whether anything besides records is waiting to be reported."""
        return bool(self._meta)

    def note(self, sentences: list[str]) -> None:
        """Tell the user something, once."""
        new = [one for one in dict.fromkeys(sentences) if one not in self._notes]
        new = new[: max(0, _MOST_NOTES - len(self._notes))]
        if new:
            self._notes += new
            self._meta = self._meta | {"notes": list(self._notes)}

    def of(self, records: Records) -> Events:
        """Return the next increment, with these records."""
        if self._decoder.short and not self._short:
            self.note(["records too short for their event were left out"])
        self._short = self._decoder.short
        strings = _newer(self._decoder.strings, self._strings)
        stacks = _newer(self._decoder.stacks, self._stacks)
        self._strings += len(strings)
        self._stacks += len(stacks)
        symbols = self._new_names(records, stacks)
        meta, self._meta = self._meta, {}
        return Events(records, strings, stacks, symbols, meta)

    def _new_names(self, records: Records, stacks: dict[int, tuple[int, ...]]) -> dict[int, str]:
        sites = set(np.unique(records["site"]).tolist()) - self._named
        returns = set(np.unique(records["caller"]).tolist())
        returns.update(address for stack in stacks.values() for address in stack)
        returns -= self._named | sites
        self._named |= sites | returns
        return self._symbols.names(sites, returns)


def _newer(table: dict[int, T], known: int) -> dict[int, T]:
    """Return what has an id above the last one that is known; ids count from 1."""
    return {number: table[number] for number in range(known + 1, len(table) + 1)}
