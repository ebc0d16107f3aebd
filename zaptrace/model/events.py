"""Events: what a kernel said, one fixed-size record each.

Records are little-endian everywhere, also when an s390x kernel said them, so
that a capture is the same bytes on every machine.  They hold what the kernel
stores (`raw_mapcount` is `page->_mapcount`); rates, timelines and mapcounts
are derived when read.
"""

from __future__ import annotations

import enum
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
    arguments that are only to be had there (`vma`); joined by thread."""


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
        ("end", "<u8"),  # first user address behind the range; ABSENT when none
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


def blank(count: int) -> Records:
    """`count` records in which every field says "absent".  Shape (count,)."""
    records = np.zeros(count, EVENT)
    for name in ("clock", "page", "pfn", "folio", "mm", "vma", "addr", "end", "pte", "caller"):
        records[name] = ABSENT
    for name in ("raw_mapcount", "refcount"):
        records[name] = ABSENT_I32
    records["pid"] = records["tgid"] = -1
    records["order"] = NO_ORDER
    return records


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
        """The records of some kinds, in order."""
        return self.records[np.isin(self.records["kind"], kinds)]


def followed_by(first: Events, second: Events) -> Events:
    """Both as one set, with `first`'s meta; the ids of `second` move behind those of `first`."""
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
