"""What ids and addresses stand for, as far as a stream has said so far."""

from __future__ import annotations

from typing import TypeVar

from zaptrace.model.events import Events

MOST = 100_000
"""Entries of each table that are kept; the oldest make room."""

_Value = TypeVar("_Value")


class Names:
    """Filled by the feed; every thread may look things up (one dict access each)."""

    def __init__(self) -> None:
        self._strings: dict[int, str] = {}
        self._stacks: dict[int, tuple[int, ...]] = {}
        self._symbols: dict[int, str] = {}

    def learn(self, events: Events) -> None:
        """Take an increment's tables in."""
        _keep(self._strings, events.strings)
        _keep(self._stacks, events.stacks)
        _keep(self._symbols, events.symbols)

    def string(self, number: int) -> str | None:
        """Return the text of a `reason`."""
        return self._strings.get(number)

    def stack(self, number: int) -> tuple[int, ...]:
        """Return addresses, innermost first; empty when not known."""
        return self._stacks.get(number, ())

    def symbol(self, address: int) -> str:
        """Return `function+0x1c`, or the address where it has no name."""
        return self._symbols.get(address) or f"{address:#x}"


def _keep(table: dict[int, _Value], news: dict[int, _Value]) -> None:
    table.update(news)
    while len(table) > MOST:
        del table[next(iter(table))]
