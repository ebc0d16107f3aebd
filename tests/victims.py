"""What the victims of the lab kernel's faults said on the console, and what each is left with.

They say it before they are struck, from their own /proc/self/pagemap (vm/guest/victim.c): zaptrace
has no part in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from zaptrace.model.findings import FindingClass
from zaptrace.model.lab_faults import FAULTS

LARGE = 16
"""Pages of a large folio."""
STRIKING = [name for name in FAULTS if name not in ("batch", "none")]
"""The faults that strike victims."""
_SAID = re.compile(
    r"^zaptrace: victim (?P<fault>\S+) pid (?P<pid>\d+) zapper (?P<zapper>\d+) "
    r"addr (?P<address>0x[0-9a-f]+) pfn (?P<pfn>\d+) (?P<evidence>\w+)\r?$",
    re.MULTILINE,
)


FREE = FindingClass.MAPPED_BUT_FREE
FEWER = FindingClass.MORE_MAPCOUNT_THAN_PTES
MORE = FindingClass.MORE_PTES_THAN_MAPCOUNT
REFS = FindingClass.REFCOUNT_BELOW_MAPCOUNT
UNDER = FindingClass.MAPCOUNT_UNDERFLOW
RSS = FindingClass.RSS_MISMATCH
HELD = FindingClass.REFCOUNT_LEAKED

LEFT: dict[tuple[str, str], tuple[set[FindingClass], set[FindingClass]]] = {
    ("leak", "quiet"): ({FEWER}, set()),
    ("leak", "loud"): (set(), set()),
    ("leak-large", "quiet"): ({FEWER}, {REFS}),
    ("leak-large", "loud"): (set(), set()),
    ("underflow", "quiet"): ({UNDER}, set()),
    ("underflow", "loud"): (set(), set()),
    ("underflow-large", "quiet"): ({UNDER}, set()),
    ("underflow-large", "loud"): (set(), set()),
    ("stale", "quiet"): ({MORE}, set()),
    ("stale", "freed"): ({FREE, MORE}, set()),
    ("stale", "loud"): (set(), set()),
    ("stale-large", "quiet"): ({MORE}, set()),
    ("stale-large", "freed"): ({FREE, MORE, REFS}, set()),
    ("stale-large", "loud"): ({UNDER}, set()),
    ("overput", "quiet"): ({REFS}, set()),
    ("overput", "loud"): ({FREE}, set()),
    ("overput-large", "quiet"): (set(), {REFS}),
    ("overput-large", "loud"): ({FREE}, set()),
    ("rss", "exit"): (set(), set()),
    ("rss", "quiet"): ({RSS}, set()),
    ("rss-large", "exit"): (set(), set()),
    ("rss-large", "quiet"): ({RSS}, set()),
    ("cow", "quiet"): ({FEWER, REFS}, set()),
    ("cow", "loud"): (set(), set()),
    ("fork", "quiet"): ({MORE}, set()),
    ("fork", "loud"): (set(), set()),
    ("mprotect", "quiet"): ({FEWER}, set()),
    ("mprotect", "exit"): ({FEWER}, set()),
    ("mremap", "quiet"): ({FEWER}, set()),
    ("mremap", "exit"): ({FEWER}, set()),
    ("pipe", "quiet"): ({REFS}, set()),
    ("pipe", "loud"): ({FREE, MORE}, set()),
    ("read", "quiet"): (set(), set()),
    ("read", "loud"): (set(), set()),
    ("scribble", "quiet"): ({REFS, FEWER}, set()),
    ("scribble", "loud"): (set(), set()),
    ("flag", "loud"): (set(), set()),
    ("hold", "quiet"): ({HELD}, set()),
    ("hold", "lost"): ({HELD}, set()),
    ("twice", "loud"): (set(), set()),
    ("driver", "loud"): (set(), set()),
    ("migrate", "quiet"): ({MORE}, set()),
    ("migrate", "loud"): (set(), set()),
    ("swap", "quiet"): ({FEWER, REFS}, set()),
    ("swap", "loud"): (set(), set()),
}
"""Fault and evidence -> one of which classes the page has (rss: its owner's mm) when all is over,
and which its folio's first page.  What bad_page() has seen is clean again: it resets the count.
What was freed may have gone to another victim, and got worse there."""


@dataclass(frozen=True)
class Victim:
    """What one said of one page."""

    fault: str
    pid: int
    zapper: int
    address: int
    pfn: int
    evidence: str

    @property
    def head(self) -> int:
        """The first page of its large folio."""
        return self.pfn - self.pfn % LARGE

    @property
    def freed(self) -> set[int]:
        """The pages that went to the allocator while they were mapped: others may have them now."""
        if self.evidence != "freed":
            return set()
        return {*range(self.head, self.head + LARGE)} if "large" in self.fault else {self.pfn}


def victims(console: str) -> list[Victim]:
    """All of them, in order."""
    return [
        Victim(
            found["fault"],
            int(found["pid"]),
            int(found["zapper"]),
            int(found["address"], 16),
            int(found["pfn"]),
            found["evidence"],
        )
        for found in _SAID.finditer(console)
    ]


def left_in_page(pfn: int, said: list[Victim]) -> set[FindingClass]:
    """Return the classes of which a page has one when all is over; empty if it has none.

    A page that was freed may be another victim's by now: then it has what either was left with.
    """
    here = (one for one in said if pfn in {one.pfn, *one.freed})
    return set().union(*(LEFT[one.fault, one.evidence][0] for one in here)) - {RSS}


def was_struck_again(pfn: int, said: list[Victim]) -> bool:
    """Return whether a page that was freed while it was mapped is another victim's by now.

    Then what one left in its counters may hide what the other did.
    """
    here = [one for one in said if pfn in {one.pfn, *one.freed}]
    return len(here) > 1 and any(pfn in one.freed for one in here)
