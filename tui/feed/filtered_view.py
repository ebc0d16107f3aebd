"""A filtered view of chunks, newest record first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tui.feed.ring import Chunk
from zaptrace.model.event_filter import Predicate
from zaptrace.model.events import Records

_Places = npt.NDArray[np.intp]


class Window:
    """Asks each chunk once; a chunk that was asked before costs nothing."""

    def __init__(self, predicate: Predicate | None = None) -> None:
        self._predicate = predicate
        self._chunks: tuple[Chunk, ...] = ()
        self._places: dict[tuple[int, int], _Places] = {}
        self._ends = np.zeros(0, np.intp)  # rows up to each chunk's end, newest chunk first

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def show(self, chunks: tuple[Chunk, ...]) -> None:
        """Look at other chunks."""
        self._chunks = chunks[::-1]
        keys = [(chunk.first, len(chunk.records)) for chunk in self._chunks]
        self._places = {
            key: known if (known := self._places.get(key)) is not None else self._ask(chunk)
            for key, chunk in zip(keys, self._chunks, strict=True)
        }
        self._ends = np.cumsum([len(self._places[key]) for key in keys], dtype=np.intp)

    def at(self, row: int) -> tuple[int, Records]:
        """Return serial number and record (an array of one) of a row; row 0 is the newest.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= row < len(self):
            raise IndexError(row)
        which = int(np.searchsorted(self._ends, row, "right"))
        chunk = self._chunks[which]
        places = self._places[(chunk.first, len(chunk.records))]
        place = int(places[int(self._ends[which]) - 1 - row])
        return chunk.first + place, chunk.records[place : place + 1]

    def _ask(self, chunk: Chunk) -> _Places:
        if self._predicate is None:
            return np.arange(len(chunk.records))
        return np.flatnonzero(self._predicate(chunk.records))
