"""Which pages are one large folio's: by the stores that made them its tails, or by a PMD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zaptrace.life.page_members import Field
from zaptrace.life.pte_records import NO_PAGE
from zaptrace.life.record_layout import U64, VALUE

if TYPE_CHECKING:
    from zaptrace.life.records import Life

LINK = "lru.next"
"""What shares its place with a tail's compound_head: bit 0 says that it is one."""
MOST_PAGES = 1 << 12
"""Pages of a folio that are followed: mm's own have 512, hugetlb's of 1 GB are left out."""
_LARGEST_MASK = np.uint64(1 << 40)


class TailLinks:
    """The stores that made pages tails of a large folio.

    Attributes:
        pages, heads: the tail and its folio's first page, of each store; shape (n,).
        numbers: its place in the whole recording, ascending.
    """

    def __init__(self, life: Life) -> None:
        field = field_of(life, LINK)
        at = np.flatnonzero(stores_to(life, field)) if field is not None else np.zeros(0, np.intp)
        records = life.records[at]
        order = life.fields.order
        values = np.ascontiguousarray(records["value"]).view(f"{order}u8").astype(np.uint64)
        linked = ((values & np.uint64(1)) != 0) & ((records["flags"] & VALUE) != 0)
        values, at = values[linked] - np.uint64(1), at[linked]
        base, size = np.uint64(life.facts.base), np.uint64(life.fields.size)
        pages = life.pages()[at]
        # Since Linux kernel commit "mm: rework compound_head() for power-of-2 sizeof(struct
        # page)" (in v7.1), it may hold the mask that makes a tail's address its head's; before
        # that, always the head's address.  No address is as near to 2**64 as a mask is.
        span = -values  # modulo 2**64
        is_mask = (span <= _LARGEST_MASK) & (span & (span - np.uint64(1)) == 0)
        first = np.where(is_mask, (base + pages * size) & values, values) - base
        heads, beside = np.divmod(first, size)
        good = (beside == 0) & (heads < pages) & (pages - heads < np.uint64(MOST_PAGES))
        self.pages, self.heads, self.numbers = pages[good], heads[good], life.numbers[at[good]]

    def tails(self, head: int, after: int = 0) -> U64:
        """Return the pages that were made tails of a first page by stores after another store:
        those that lie side by side behind it."""
        mine = (self.heads == np.uint64(head)) & (self.numbers >= np.uint64(after))
        pages = np.unique(self.pages[mine])
        beside = pages == np.uint64(head + 1) + np.arange(len(pages), dtype=np.uint64)
        found: U64 = pages[: len(pages) if beside.all() else int(np.argmin(beside))]
        return found

    def heads_of(self, pages: Sequence[int]) -> dict[int, int]:
        """Return the page -> the first page of the last folio that it was a tail of."""
        mine = np.flatnonzero(np.isin(self.pages, np.array(pages, np.uint64)))
        return dict(zip(self.pages[mine].tolist(), self.heads[mine].tolist(), strict=True))

    def all_tails(self, heads: U64) -> U64:
        """Return the pages that were ever a tail of some first pages."""
        return np.unique(self.pages[np.isin(self.heads, heads)])


def field_of(life: Life, name: str) -> Field | None:
    """Return a member of struct page by its name; None without it."""
    return next((one for one in life.fields.fields if one.name == name), None)


def stores_to(life: Life, field: Field) -> npt.NDArray[np.bool_]:
    """Return which records cover the whole of a member.  Shape (n,)."""
    at = (life.records["va"] - np.uint64(life.facts.base)) % np.uint64(life.fields.size)
    starts = at <= np.uint64(field.offset)
    ends = at + life.records["bytes"] >= np.uint64(field.offset + field.size)
    found: npt.NDArray[np.bool_] = starts & ends
    return found


def mapped_folios(life: Life) -> U64:
    """Return the first pages of large folios that an entry above PTEs maps, or mapped."""
    form = life.pte_format
    if form is None or not form.huge:
        return np.zeros(0, np.uint64)
    heads = np.union1d(form.heads(life.ptes["before"]), form.heads(life.ptes["after"]))
    found: U64 = heads[heads != np.uint64(NO_PAGE)]
    return found


def with_folios(life: Life, pfns: Sequence[int]) -> tuple[int, ...]:
    """Return some pages and, of each that is or was last in a large folio, that folio's first one,
    which has the references of all; of one that is mapped as a whole its first two: how often it is
    mapped is counted there."""
    if not pfns:
        return ()
    more = list(dict.fromkeys(TailLinks(life).heads_of(pfns).values()))
    if len(heads := mapped_folios(life)):
        pages = np.uint64(life.pte_format.pages_of_huge - 1 if life.pte_format else 0)
        mine = np.array(pfns, np.uint64) & ~pages
        found = np.unique(mine[np.isin(mine, heads)]).tolist()
        more += [pfn + at for pfn in found for at in (0, 1)]
    return tuple(dict.fromkeys([*pfns, *more]))
