"""Suspects: pages ranked by how badly their story disagrees, while events come.

Only the records that say that something is wrong, and the rmap removals of
pages that are suspected already, are looked at one by one; all others cost a
few numpy masks an increment.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zaptrace.explain.event_view import PAGE_MAPCOUNT_RESERVE, Mask
from zaptrace.explain.naming import NS_PER_US, duration
from zaptrace.model.events import ABSENT, ABSENT_I32, Events, Kind, Records, pages_of

MOST_PAGES = 4096
"""Pages that are kept; those that come later are counted (`Suspects.unlisted`)."""
MOST_STRINGS = 4096
_MOST_PAIRS = 1 << 16  # removals x suspected pages of one increment; a hostile `nr` is large

LATE, COUNTED, REFUSED, BAD_PTE, UNDERFLOW = range(5)
"""What may be wrong with a page: columns of the table, worst first."""
WEIGHTS = np.array([60, 50, 40, 30, 20])
"""What each adds to the score, once."""

_ROW = np.dtype(
    [
        ("key", "<u8"),  # pfn, or the struct page's address where that is all
        ("pfn", "<u8"),
        ("page", "<u8"),
        ("counts", "<u4", (len(WEIGHTS),)),
        ("first", "<u8"),  # ns; of all that is wrong with it
        ("last", "<u8"),
        ("fault", "<u8"),  # ns, when it reached the allocator; ABSENT
        ("fault_pid", "<i4"),
        ("over", "<u8"),  # ns, when that thread began another zap; ABSENT
        ("gap", "<u8"),  # ns from there to the rmap removal; ABSENT
        ("raw_mapcount", "<i4"),  # when it reached the allocator
        ("reason", "<u4"),
        ("pid", "<i4"),
        ("comm", "S16"),
    ]
)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A page under suspicion; absent is None.

    Attributes:
        score: higher is worse.
        reasons: in words, worst first.
        first_ns, last_ns: boot clock of the first and the last thing that was wrong.
        pid, comm: the thread that the first was seen in.
        events: how many things were wrong.
    """

    pfn: int | None
    page: int | None
    score: int
    reasons: tuple[str, ...]
    first_ns: int | None
    last_ns: int | None
    comm: str | None
    pid: int | None
    events: int


class Suspects:
    """Keeps a row for each page that something was wrong with."""

    def __init__(self) -> None:
        self.unlisted = 0
        """Wrong events of pages that there was no room for."""
        self._rows = np.zeros(0, _ROW)  # sorted by key
        self._strings: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, events: Events) -> None:
        """Take an increment in."""
        for number, text in events.strings.items():
            if len(self._strings) < MOST_STRINGS:
                self._strings[number] = text
        records = events.records
        wrong = records[_wrong(records)]
        if len(wrong):
            keys = _keys(wrong)
            self._enlist(wrong, keys)
            self._count(wrong, keys)
        if len(self._rows):
            self._end_zaps(records[records["kind"] == Kind.ZAP])
            self._removals(records[records["kind"] == Kind.RMAP_REMOVE])

    def ranking(self, limit: int) -> tuple[Suspect, ...]:
        """Return the worst pages, worst first; of equals, the one that was first."""
        rows = self._rows
        scores = (rows["counts"] > 0) @ WEIGHTS
        places = np.lexsort((rows["key"], rows["first"], -scores))[:limit]
        return tuple(self._suspect(rows[at], int(scores[at])) for at in places)

    def touched(self, records: Records) -> Mask:
        """Return which records are about a suspected page. Shape (n,)."""
        first, last = _reach(records)
        keys = self._rows["key"]
        mask: Mask = np.searchsorted(keys, last, "right") > np.searchsorted(keys, first)
        mask &= first != ABSENT
        return mask

    def _enlist(self, wrong: Records, keys: npt.NDArray[np.uint64]) -> None:
        """Add a row for each page that has none."""
        pages, first = np.unique(keys, return_index=True)
        new = ~np.isin(pages, self._rows["key"])
        room = MOST_PAGES - len(self._rows)
        # The earliest get the room, not those with the lowest pfn.
        places = np.sort(first[new])[:room]
        if not len(places):
            return
        rows = np.zeros(len(places), _ROW)
        rows["key"] = keys[places]
        for name in ("pfn", "page", "pid", "comm"):
            rows[name] = wrong[name][places]
        for name in ("first", "fault", "over", "gap"):
            rows[name] = ABSENT
        rows["raw_mapcount"] = ABSENT_I32
        rows["fault_pid"] = -1
        rows = np.concatenate([self._rows, rows])
        self._rows = rows[np.argsort(rows["key"])]

    def _count(self, wrong: Records, keys: npt.NDArray[np.uint64]) -> None:
        rows = self._rows
        at = np.minimum(np.searchsorted(rows["key"], keys), len(rows) - 1)
        known = rows["key"][at] == keys
        self.unlisted += int(len(known) - known.sum())
        wrong, at = wrong[known], at[known]
        kind, clock = wrong["kind"], wrong["clock"]
        for rule, meets in (
            (COUNTED, _counted(wrong)),
            (REFUSED, kind == Kind.BAD_PAGE),
            (BAD_PTE, kind == Kind.BAD_PTE),
            (UNDERFLOW, kind == Kind.RMAP_REMOVE),
        ):
            np.add.at(rows["counts"][:, rule], at[meets], 1)
        self._note_times(at, clock)
        # Backwards, so that the first of a page's faults is what stays.
        faults = np.flatnonzero(_counted(wrong) | (kind == Kind.BAD_PAGE))[::-1]
        unset = rows["raw_mapcount"][at[faults]] == ABSENT_I32
        first = faults[unset]
        rows["raw_mapcount"][at[first]] = wrong["raw_mapcount"][first]
        timed = faults[rows["fault"][at[faults]] == ABSENT]
        rows["fault"][at[timed]] = clock[timed]
        rows["fault_pid"][at[timed]] = wrong["pid"][timed]
        refused = np.flatnonzero((kind == Kind.BAD_PAGE) & (wrong["reason"] > 0))
        rows["reason"][at[refused]] = wrong["reason"][refused]

    def _note_times(self, at: npt.NDArray[np.intp], clock: npt.NDArray[np.uint64]) -> None:
        np.minimum.at(self._rows["first"], at, clock)
        timed = clock != ABSENT
        np.maximum.at(self._rows["last"], at[timed], clock[timed])

    def _end_zaps(self, zaps: Records) -> None:
        """Note when the thread that freed a suspected page began another zap."""
        rows = self._rows
        waiting = np.flatnonzero((rows["fault"] != ABSENT) & (rows["over"] == ABSENT))
        pids, of_row = np.unique(rows["fault_pid"][waiting], return_inverse=True)
        zaps = zaps[np.isin(zaps["pid"], pids) & (zaps["clock"] != ABSENT)]
        if not len(zaps):
            return
        # One number for thread and time, so that one search serves all threads.
        clocks, rank = np.unique(zaps["clock"], return_inverse=True)
        span = len(clocks) + 1
        begun = np.sort(np.searchsorted(pids, zaps["pid"]) * span + rank)
        after = of_row * span + np.searchsorted(clocks, rows["fault"][waiting], "right")
        at = np.minimum(np.searchsorted(begun, after), len(begun) - 1)
        found = (begun[at] >= after) & (begun[at] // span == of_row)
        rows["over"][waiting[found]] = clocks[begun[at[found]] % span]

    def _removals(self, removals: Records) -> None:
        """Count removals of suspected pages in the zap in which the page reached the allocator."""
        rows = self._rows
        first, last = _reach(removals)
        begin = np.searchsorted(rows["key"], first)
        hits = np.searchsorted(rows["key"], last, "right") - begin
        touching = np.flatnonzero((hits > 0) & (first != ABSENT))
        touching = touching[np.cumsum(hits[touching]) <= _MOST_PAIRS]
        count = hits[touching]
        which = np.repeat(touching, count)
        step = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
        at = begin[which] + step
        clock = removals["clock"][which]
        late = (clock != ABSENT) & (clock > rows["fault"][at]) & (clock < rows["over"][at])
        late &= removals["pid"][which] == rows["fault_pid"][at]
        at, clock = at[late], clock[late]
        np.add.at(rows["counts"][:, LATE], at, 1)
        np.minimum.at(rows["gap"], at, clock - rows["fault"][at])
        self._note_times(at, clock)

    def _suspect(self, row: np.void, score: int) -> Suspect:
        def known(name: str, absent: int = ABSENT) -> int | None:
            value = int(row[name])
            return None if value == absent else value

        return Suspect(
            pfn=known("pfn"),
            page=known("page"),
            score=score,
            reasons=self._reasons(row),
            first_ns=known("first"),
            last_ns=known("last", 0),
            comm=bytes(row["comm"]).decode("utf-8", "replace") or None,
            pid=known("pid", -1),
            events=int(row["counts"].sum()),
        )

    def _reasons(self, row: np.void) -> tuple[str, ...]:
        reason = self._strings.get(int(row["reason"]), "reason unknown")
        words = (
            f"rmap removed {duration(int(row['gap']) / NS_PER_US)} after the free",
            f"freed with mapcount {int(row['raw_mapcount']) + 1}",
            f"bad_page: {reason}",
            "bad PTE",
            "rmap removed at mapcount 0 or below",
        )
        return tuple(said for said, count in zip(words, row["counts"], strict=True) if count)


def _wrong(records: Records) -> Mask:
    """Return which records say by themselves that their page is wrong; in a clean run none does."""
    kind, raw = records["kind"], records["raw_mapcount"]
    # Up to 6.7 a PMD mapping is counted elsewhere, and its head page may stand at -1: a clue.
    below = (kind == Kind.RMAP_REMOVE) & (raw < 0) & (raw >= PAGE_MAPCOUNT_RESERVE)
    mask: Mask = below | _counted(records) | (kind == Kind.BAD_PAGE) | (kind == Kind.BAD_PTE)
    mask &= _keys(records) != ABSENT
    return mask


def _counted(records: Records) -> Mask:
    """Pages that reach the allocator with a mapcount other than 0."""
    kind, raw = records["kind"], records["raw_mapcount"]
    # An absent refcount is negative; a page that is still referenced is not being freed.
    freed = ((kind == Kind.PAGE_FREE) | (kind == Kind.BAD_PAGE)) & (records["refcount"] <= 0)
    mask: Mask = freed & (raw >= PAGE_MAPCOUNT_RESERVE) & (raw != -1)
    return mask


def _keys(records: Records) -> npt.NDArray[np.uint64]:
    """Return what a record's page is known by: its pfn, else the address of its struct page."""
    pfn = records["pfn"]
    keys: npt.NDArray[np.uint64] = np.where(pfn == ABSENT, records["page"], pfn)
    return keys


def _reach(records: Records) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Keys of the first and the last page that each record is about."""
    first = _keys(records)
    more = np.where(records["pfn"] != ABSENT, pages_of(records) - np.uint64(1), np.uint64(0))
    # A sum that wraps is below `first`: then the range holds that page alone.
    return first, np.maximum(first, first + more)
