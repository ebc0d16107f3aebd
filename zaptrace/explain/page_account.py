"""A page's account: its recorded life with its ledger, and what may be concluded from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zaptrace.life.calls import Unit, call_is_over, same_call
from zaptrace.life.ledger import Ledger
from zaptrace.life.left_over import HELD, LeftOver, What
from zaptrace.life.named_life import NamedLife, NamedWrite
from zaptrace.life.page_life import CLEARS, SETS
from zaptrace.life.page_members import PageFields

_POSITIVE = (What.STRAY, What.FREED_TWICE, What.FREED_WHILE_MAPPED)
"""What is seen in a store itself; all else is that another store is missing."""
_OF_A_STALE_HOLDER = (*HELD, What.PUT_WITHOUT_GET, What.FREED_TWICE)
"""What a put does that is the page's former life's."""
_WITHIN_A_CALL = (
    *(What.PTE_CLEARED, What.PTE_STAYS, What.RMAP_WITHOUT_PTE),
    What.CLEARED_NOT_PUT,
)
"""What the same call may still make good."""


@dataclass(frozen=True, slots=True)
class PageAccount:
    """One page's.

    Attributes:
        whole: no store to its struct page is missing: each word's last record was its memory at
            the stop, and nothing of the recording was lost.
        over: the guest ran on to its end: no call is still at work.
        last: kernel stack -> the last store on it (`zaptrace.life.calls.call_is_over`).
        entry: the last store to the page's (swap) PTE, where its rmap does not lead to that.
        earlier: it is the life that the page had before its last allocation.
    """

    named: NamedLife
    fields: PageFields
    ledger: Ledger
    whole: bool
    over: bool
    last: Mapping[int, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    entry: NamedWrite | None = None
    earlier: bool = False

    @property
    def facts(self) -> tuple[LeftOver, ...]:
        """What has no partner, as far as that may be said."""
        return tuple(one for one in self.ledger.left_over if self._may_be_said(one))

    def _may_be_said(self, one: LeftOver) -> bool:
        if one.what in _POSITIVE:
            return True
        if one.what in _WITHIN_A_CALL and not self.over:
            return self.whole and all(map(self._is_over, one.among))
        if one.what is What.MAPPED_WITHOUT_GET and one.tally is not None and not self.over:
            return self.whole and self._went_on(one)
        return self.whole

    def _went_on(self, one: LeftOver) -> bool:
        """Return whether anything else was stored after the entries of a large folio that lack
        references: filemap_map_folio_range() takes them when it has set all entries."""
        last = max(write.write.number for write in (*one.among, *one.others))
        stores = (*self.named.writes, *self.named.parts)
        return any(other.write.number > last for other in stores)

    def _is_over(self, one: NamedWrite) -> bool:
        """Return whether the call that made a store has ended: its task made another since."""
        if call_is_over(one, self.last):
            return True
        root, at = one.write.root, one.write.number
        later = (other for other in self.named.writes if other.write.number > at)
        return root != 0 and any(
            other.write.root == root and not same_call(Unit(0, one), Unit(0, other))
            for other in later
        )

    def left_mapped(self, ptes: int) -> bool:
        """Return whether so many PTEs mapped the page when the guest was stopped, and the call
        that stored to its struct page last before the stop has ended and cleared none of them.
        """
        before = [one for one in self.named.writes if not one.write.after_stop]
        mapped = sum((one.role in SETS) - (one.role in CLEARS) for one in before)
        own = [one for one in before if one.write.slot is None]
        if not self.whole or mapped != ptes or not own:
            return False
        if not self.over and not self._is_over(own[-1]):
            return False
        return not any(
            one.role in CLEARS
            and one.write.after_stop
            and same_call(Unit(0, own[-1]), Unit(0, one))
            for one in self.named.writes
        )

    @property
    def facts_follow(self) -> bool:
        """Return whether all that is known to be wrong may follow from a reference that somebody
        held when the page was freed before."""
        return all(one.what in _OF_A_STALE_HOLDER for one in self.facts)

    def first(self, *kinds: What) -> LeftOver | None:
        """Return the first fact of some kinds."""
        return next((one for one in self.facts if one.what in kinds), None)

    def write(self, number: int) -> NamedWrite | None:
        """Return the store of a number."""
        own = (*self.named.writes, *((self.entry,) if self.entry else ()))
        return next((one for one in own if one.write.number == number), None)

    def late_removal(self) -> NamedWrite | None:
        """Return the rmap removal that came after the page was freed while mapped; None without,
        or where its PTE was still there when the page was freed."""
        freed = self.first(What.FREED_WHILE_MAPPED)
        if freed is None:
            return None
        at = freed.among[0].write.number
        later = (one for one in self.named.writes if one.write.number > at)
        found = next((one for one in later if one.role == "unmapped" or one.role in CLEARS), None)
        return found if found is not None and found.role == "unmapped" else None
