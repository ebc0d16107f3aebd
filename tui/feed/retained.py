"""Records that a page's timeline will want: they outlive the ring."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tui.feed.ring import Chunk
from zaptrace.explain.suspects import Suspects
from zaptrace.model.events import EVENT, Records, zaps_before

MOST = 20_000
"""Records that are kept; when there are more, those that come last are not."""
_LOOK_BACK = 2  # of the ring's newest chunks

Places = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Kept:
    """Records with their serial numbers, in order; never written to."""

    serials: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    records: Records = field(default_factory=lambda: np.zeros(0, EVENT))

    def joined(self, serials: npt.NDArray[np.int64], records: Records) -> Kept:
        """With more records; a serial number that is there already stays once."""
        merged, places = np.unique(np.concatenate([self.serials, serials]), return_index=True)
        return Kept(merged, np.concatenate([self.records, records])[places])


def keep(kept: Kept, ring: tuple[Chunk, ...], suspects: Suspects) -> Kept:
    """Add what the ring's newest chunks hold of suspected pages, with the zaps before it."""
    if not len(suspects):
        return kept
    for chunk in ring[-_LOOK_BACK:]:
        touched = np.flatnonzero(suspects.touched(chunk.records))
        places = np.union1d(touched, zaps_before(chunk.records, touched))
        serials = chunk.first + places.astype(np.int64)
        new = ~np.isin(serials, kept.serials)
        new[max(MOST - len(kept.serials), 0) :] = False
        if new.any():
            kept = kept.joined(serials[new], chunk.records[places[new]])
    return kept
