"""Events: what a kernel said, one fixed-size record each.

Records are little-endian everywhere, also when an s390x kernel said them, so
that a capture is the same bytes on every machine.  They hold what the kernel
stores (`raw_mapcount` is `page->_mapcount`); rates, timelines and mapcounts
are derived when read.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

ABSENT = 2**64 - 1
"""An unsigned 64-bit field that this event does not have."""
ABSENT_I32 = -(2**31)
"""A signed 32-bit field that this event does not have."""
NO_ORDER = 255
"""`order` when unknown."""
NO_CPU = 2**32 - 1
"""`cpu` of a LOST record whose source does not count by CPU."""
_MOST_THREADS = 64  # whose zaps are looked for at a time


class Kind(enum.IntEnum):
    """What an event says.  The numbers are part of the capture format."""

    ZAP = 1
    """Entry of zap_pte_range, inlined or not: PTEs in [addr, end) go."""
    RMAP_REMOVE = 2
    """Entry of the function that takes a page's mapcount down."""
    PAGE_FREE = 3
    """A page reaches the allocator although its `_mapcount` is not -1."""
    BAD_PAGE = 4
    """Entry of bad_page: the kernel refuses the page."""
    BAD_PTE = 5
    """Entry of print_bad_pte."""
    LOST = 6
    """`nr` events could not be delivered by this CPU's source."""
    ZAP_ENTER = 7
    """Entry of the function that zap_pte_range is inlined into: carries the
    arguments that are only available there (`vma`); joined by thread."""
    BAD_TABLE = 8
    """Entry of pmd_clear_bad, pud_clear_bad and the like: an entry of a page table is bad."""


@dataclass(frozen=True, slots=True)
class EventKind:
    """One row of KINDS: what every view and every source knows of a kind.

    Attributes:
        help: what it says, for people.
        mark: one character that stands for it, also without colour.
        style: name of its style in the TUI: "zap", "rmap", "warn", "bad" or "dim".
        frequent: an ordinary event, which filters may thin out; the others report trouble.
        with_stack: its probe records the kernel stack.
        spans_pages: it is about `nr` pages from its pfn on; else about one page or none.
        about_page: it is about pages; else about a range of addresses or a source.
        charted: it has a row in the graph of rates before the first one came.
    """

    help: str
    mark: str
    style: str
    frequent: bool
    with_stack: bool
    spans_pages: bool
    about_page: bool
    charted: bool


KINDS: dict[Kind, EventKind] = {
    Kind.ZAP: EventKind(
        help="zap_pte_range() begins: the PTEs of a range go",
        mark="○",
        style="zap",
        frequent=True,
        with_stack=False,
        spans_pages=False,
        about_page=False,
        charted=True,
    ),
    Kind.ZAP_ENTER: EventKind(
        help="the function that zap_pte_range is inlined into begins",
        mark="·",
        style="dim",
        frequent=True,
        with_stack=False,
        spans_pages=False,
        about_page=False,
        charted=False,
    ),
    Kind.RMAP_REMOVE: EventKind(
        help="a page's mapcount is taken down; must come before the free",
        mark="−",
        style="rmap",
        frequent=True,
        with_stack=False,
        spans_pages=True,
        about_page=True,
        charted=True,
    ),
    Kind.PAGE_FREE: EventKind(
        help="a page reaches the allocator although its mapcount is not 0",
        mark="▽",
        style="warn",
        frequent=False,
        with_stack=True,
        spans_pages=False,
        about_page=True,
        charted=True,
    ),
    Kind.BAD_PAGE: EventKind(
        help="bad_page(): the kernel refuses the page",
        mark="✖",
        style="bad",
        frequent=False,
        with_stack=True,
        spans_pages=False,
        about_page=True,
        charted=True,
    ),
    Kind.BAD_PTE: EventKind(
        help="print_bad_pte(): a PTE and its page disagree",
        mark="◆",
        style="bad",
        frequent=False,
        with_stack=True,
        spans_pages=False,
        about_page=True,
        charted=True,
    ),
    Kind.BAD_TABLE: EventKind(
        help="pmd_clear_bad() and the like: a bad entry of a page table is cleared",
        mark="◈",
        style="bad",
        frequent=False,
        with_stack=True,
        spans_pages=False,
        about_page=False,
        charted=False,
    ),
    Kind.LOST: EventKind(
        help="events that could not be delivered",
        mark="▲",
        style="bad",
        frequent=False,
        with_stack=False,
        spans_pages=False,
        about_page=False,
        charted=False,
    ),
}
"""Every kind's row, in the order in which views list them."""

TROUBLE = tuple(kind for kind, row in KINDS.items() if row.about_page and not row.frequent)
"""Kinds that say that something is wrong with a page."""
FREQUENT = frozenset(kind.name.lower() for kind, row in KINDS.items() if row.frequent)
WITH_STACK = frozenset(kind.name.lower() for kind, row in KINDS.items() if row.with_stack)
"""The same by the name that a probe plan's sites have for them."""


class Origin(enum.IntEnum):
    """How the record was taken."""

    PROBE = 0
    REGISTERS = 1
    """Read from a stopped CPU's argument registers: `clock` is absent."""


EVENT = np.dtype(
    [
        ("clock", "<u8"),  # ns, boot clock; ABSENT for Origin.REGISTERS
        ("site", "<u8"),  # address of the probe
        ("page", "<u8"),  # struct page *, ABSENT when none
        ("pfn", "<u8"),  # page frame number of `page`; ABSENT when none
        ("folio", "<u8"),  # struct folio * when the site gave one, else ABSENT
        ("mm", "<u8"),  # struct mm_struct *; ABSENT when none
        ("vma", "<u8"),  # struct vm_area_struct *; ABSENT when none
        ("addr", "<u8"),  # user address, bytes; ABSENT when none
        ("end", "<u8"),  # first user address after the range; ABSENT when none
        ("pte", "<u8"),  # raw PTE value (bad_pte); ABSENT when none
        ("caller", "<u8"),  # return address of the probed function; ABSENT
        ("nr", "<u4"),  # pages in the range, or events lost; 0 when it has none
        ("raw_mapcount", "<i4"),  # page->_mapcount as stored: mapcount - 1
        ("refcount", "<i4"),  # page->_refcount; ABSENT_I32 when none
        ("cpu", "<u4"),
        ("pid", "<i4"),  # thread id, the kernel's task->pid; -1 when unknown
        ("tgid", "<i4"),  # process id; -1 when unknown
        ("reason", "<u4"),  # id in `strings` (bad_page's reason); 0 when none
        ("stack", "<u4"),  # id in `stacks`; 0 when none
        ("kind", "u1"),  # Kind
        ("order", "u1"),  # allocation order, NO_ORDER when unknown
        ("origin", "u1"),  # Origin
        ("reserved", "u1"),
        ("comm", "S16"),  # task->comm, padded with NUL
    ]
)

Records = npt.NDArray[np.void]


ABSENT_VALUE: dict[str, int] = {
    **dict.fromkeys(
        ("clock", "page", "pfn", "folio", "mm", "vma", "addr", "end", "pte", "caller"), ABSENT
    ),
    **dict.fromkeys(("raw_mapcount", "refcount"), ABSENT_I32),
    **dict.fromkeys(("pid", "tgid"), -1),
    **dict.fromkeys(("site", "nr", "reason", "stack"), 0),
    "cpu": NO_CPU,
    "order": NO_ORDER,
}
"""What each field of a record says when the event does not have it."""


def blank(count: int) -> Records:
    """Return `count` records of CPU 0 in which every other field is absent.  Shape (count,)."""
    records = np.zeros(count, EVENT)
    for name, value in ABSENT_VALUE.items():
        if name != "cpu":  # every probe knows its CPU
            records[name] = value
    return records


def about_page(records: Records, pfn: int) -> npt.NDArray[np.bool_]:
    """Return which of some records are about one page, alone or as one of `nr`.

    Args:
        records: shape (n,).

    Returns:
        A mask of shape (n,).
    """
    first, wanted = records["pfn"], np.uint64(pfn)
    # Only where first <= pfn is the difference a distance; elsewhere it wraps.
    about: npt.NDArray[np.bool_] = (first != ABSENT) & (first <= wanted)
    about &= wanted - first < pages_of(records)
    return about


def zaps_before(records: Records, places: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the places of the last zap that the thread of each of some records began before it.

    Args:
        records: shape (n,), in order.
        places: which of them; shape (m,).
    """
    found = [np.zeros(0, np.intp)]
    pids = records["pid"][places]
    for pid in np.unique(pids)[:_MOST_THREADS]:
        zaps = np.flatnonzero((records["kind"] == Kind.ZAP) & (records["pid"] == pid))
        before = np.searchsorted(zaps, places[pids == pid]) - 1
        found.append(zaps[np.unique(before[before >= 0])])
    return np.concatenate(found)


def is_kind(records: Records, kinds: Iterable[int]) -> npt.NDArray[np.bool_]:
    """Return which records are of some kinds.  Shape (n,).

    np.isin takes five times as long for the few records of a story.
    """
    wanted = np.zeros(256, bool)
    wanted[list(kinds)] = True
    found: npt.NDArray[np.bool_] = wanted[records["kind"]]
    return found


def pages_of(records: Records) -> npt.NDArray[np.uint64]:
    """Return how many pages from its pfn on each record is about, at least 1.  Shape (n,)."""
    spanning = [kind for kind, row in KINDS.items() if row.spans_pages]
    several = is_kind(records, spanning)
    return np.where(several, np.maximum(records["nr"], 1), 1).astype(np.uint64)


@dataclass(slots=True)
class Events:
    """A set of events with what their ids stand for.

    Attributes:
        records: shape (n,), dtype EVENT, in the order in which they were taken
            on each CPU and by clock between CPUs; Origin.REGISTERS last.
        strings: id -> text, for `reason`.
        stacks: id -> return addresses, innermost first.
        symbols: kernel address -> "function+0x1c", for addresses in `stacks`,
            `site` and `caller` that the recorder could name.
        meta: what the recorder knew: arch, release, build_id, page_size,
            source, and the probe plan's sites.  JSON types only.
    """

    records: Records = field(default_factory=lambda: np.zeros(0, EVENT))
    strings: dict[int, str] = field(default_factory=dict)
    stacks: dict[int, tuple[int, ...]] = field(default_factory=dict)
    symbols: dict[int, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """How many events the sources could not deliver."""
        lost = self.records[self.records["kind"] == Kind.LOST]
        return int(lost["nr"].sum(dtype=np.uint64))

    def of_kind(self, *kinds: Kind) -> Records:
        """Return the records of some kinds, in order."""
        return self.records[is_kind(self.records, kinds)]


def followed_by(first: Events, second: Events) -> Events:
    """Return both as one set, with `first`'s meta; `second`'s ids come after `first`'s."""
    records = second.records.copy()
    for name, taken in (("reason", first.strings), ("stack", first.stacks)):
        base = max(taken, default=0)
        records[name] = np.where(records[name] > 0, records[name] + base, 0)
    strings, stacks = max(first.strings, default=0), max(first.stacks, default=0)
    return Events(
        np.concatenate([first.records, records]),
        first.strings | {strings + number: text for number, text in second.strings.items()},
        first.stacks | {stacks + number: stack for number, stack in second.stacks.items()},
        first.symbols | second.symbols,
        dict(first.meta),
    )
