"""What a page's ledger has left over: stores without a partner, each as a sentence."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from zaptrace.life.calls import place
from zaptrace.life.named_life import NamedWrite
from zaptrace.life.page_life import ENTRY


class What(enum.StrEnum):
    """What is left over."""

    STRAY = "stray_store"
    UNSEEN = "changed_without_a_store"
    FREED_TWICE = "put_of_free_page"
    PTE_WITHOUT_RMAP = "pte_set_without_rmap"
    PTE_CLEARED = "pte_cleared_rmap_not_removed"
    PTE_STAYS = "rmap_removed_pte_stays"
    NO_PTE = "rmap_removed_without_pte"
    RMAP_WITHOUT_PTE = "rmap_added_without_pte"
    MAPPED_WITHOUT_GET = "mapped_without_get"
    FREED_WHILE_MAPPED = "freed_while_mapped"
    PUT_WITHOUT_GET = "put_without_get"
    PUT_OR_RMAP = "put_without_get_or_rmap_removal_missing"
    RMAP_NOT_REMOVED = "rmap_not_removed"
    REMOVED_TOO_OFTEN = "rmap_removed_too_often"
    CLEARED_NOT_PUT = "pte_cleared_reference_not_put"
    GET_WITHOUT_PUT = "get_without_put"


@dataclass(frozen=True, slots=True)
class Tally:
    """What one call did to a large folio, without the references of caches and batches."""

    sets: int
    clears: int
    gets: int
    puts: int

    def __str__(self) -> str:
        """Return `16 entries set, 15 references taken`: what is not 0."""
        said = []
        for count, one, many, did in (
            (self.sets, "entry", "entries", "set"),
            (self.clears, "entry", "entries", "cleared"),
            (self.gets, "reference", "references", "taken"),
            (self.puts, "reference", "references", "dropped"),
        ):
            if count:
                said.append(f"{count} {one if count == 1 else many} {did}")
        if not self.gets and not self.puts:
            said.append("no reference taken or dropped")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class LeftOver:
    """Stores without a partner.

    Attributes:
        count: how many there are too many.
        among: the stores that one of them may be; where it is known how often their instructions
            stored in the whole boot, the rarest first.
        often: how often, of each of `among`; empty when that is not known.
        dropped: where the reference of a mapping went whose rmap was not removed.
        entries: of a put without a get the PTEs set in its call: one of them may have taken none;
            of a large folio's get without a put those cleared in its call.
        tally: of a large folio, what the call did to it, where it is one call alone.
        others: there, the references taken for the entries that were set, or dropped for those that
            were cleared; of a cache that kept one, what it dropped.
    """

    what: What
    count: int
    among: tuple[NamedWrite, ...]
    dropped: tuple[NamedWrite, ...] = ()
    often: tuple[int, ...] = ()
    entries: tuple[NamedWrite, ...] = ()
    tally: Tally | None = None
    others: tuple[NamedWrite, ...] = ()

    def sentence(self) -> str:
        """Return what is left over as a sentence, with the source lines."""
        named = dict(zip(map(place, self.among), self.often or (0,) * len(self.among), strict=True))
        if len(set(named.values())) > 1:
            places = " or ".join(f"{one} (stores {often:,} in all)" for one, often in named.items())
        else:
            places = " or ".join(named)
        times = "" if self.count == 1 else f" {self.count} times"
        said = f"{self.of_entry(_SAID[self.what])}{times}: {places}"
        if self.entries:
            made = " or ".join(dict.fromkeys(map(place, self.entries)))
            said += f", or {_SAID[self.instead]}: {made}"
        if self.tally is not None:
            said += f" ({self.tally})"
        dropped = " and ".join(dict.fromkeys(map(place, self.dropped)))
        return f"{said}; its reference was put by {dropped}" if dropped else said

    @property
    def instead(self) -> What:
        """What is wrong with one of `entries`, if that is it."""
        held = self.what is What.GET_WITHOUT_PUT
        return What.CLEARED_NOT_PUT if held else What.MAPPED_WITHOUT_GET

    def of_entry(self, text: str) -> str:
        """Return a sentence about a PTE as one about the entry that it is: a PMD of a large
        folio's."""
        return text.replace(ENTRY, self.among[0].entry)

    @property
    def is_of_folio(self) -> bool:
        """Whether it is about a large folio as a whole: its references, or its mappings by PMDs."""
        return self.what in _OF_REFERENCES or self.among[0].write.is_whole


_SAID = {
    What.STRAY: "stray store",
    What.UNSEEN: "a counter was another before, and no recorded store did it",
    What.FREED_TWICE: "put when its last reference had gone",
    What.PTE_WITHOUT_RMAP: "PTE set and no rmap added",
    What.PTE_CLEARED: "PTE cleared and its rmap not removed",
    What.PTE_STAYS: "rmap removed and its PTE not cleared",
    What.NO_PTE: "rmap removed without a PTE",
    What.RMAP_WITHOUT_PTE: "rmap added and no PTE set",
    What.MAPPED_WITHOUT_GET: "PTE set and no reference taken for it",
    What.FREED_WHILE_MAPPED: "freed while its mapcount was not 0",
    What.PUT_WITHOUT_GET: "put without a get",
    What.PUT_OR_RMAP: "put without a get, or without the rmap removal that belongs to it",
    What.RMAP_NOT_REMOVED: "rmap added and not removed",
    What.REMOVED_TOO_OFTEN: "rmap removed more often than added",
    What.CLEARED_NOT_PUT: "PTE cleared and its reference not put yet",
    What.GET_WITHOUT_PUT: "got and not put yet",
}

HELD = (What.CLEARED_NOT_PUT, What.GET_WITHOUT_PUT)
"""A reference that may be dropped later."""

_OF_REFERENCES = (
    *(What.FREED_TWICE, What.MAPPED_WITHOUT_GET, What.PUT_WITHOUT_GET, What.PUT_OR_RMAP),
    *(What.FREED_WHILE_MAPPED, *HELD),
)
"""What is wrong with references, which a large folio has together."""
