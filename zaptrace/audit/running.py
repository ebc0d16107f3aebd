"""What is wrong with a kernel that runs: what look after look agrees on, and nothing else.

A page that changes between the reading of its counters and of its page tables looks wrong, and
one that is mapped and unmapped all the time does so again and again, with the same numbers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import drgn
import numpy as np

from zaptrace.audit.arrays import Mask
from zaptrace.audit.findings import rss_findings
from zaptrace.audit.further import further_findings
from zaptrace.audit.invariants import Suspect, judge
from zaptrace.audit.optional import as_bad_input
from zaptrace.audit.proved import Judged, Suspects, described, provable
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import Ledger, take
from zaptrace.model.errors import BadInput
from zaptrace.model.findings import Finding

LOOKS = 6
"""How often a running kernel is looked at, as long as anything is left to find."""
MAX_FAILURES = 5
PAUSES = tuple(number / 1000 for number in range(1, 21))
"""Seconds between readings of the suspects' counters, 0.2 in all.  No two are alike: what comes
and goes regularly must not meet them in step."""

CHANGED = "pages that changed while they were looked at"

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    """One look: `suspects` and `others` by what must be the same at the next."""

    ledger: Ledger
    owners: Owners
    suspects: dict[Key, Suspect]
    others: dict[Key, Finding]

    def keys(self) -> set[Key]:
        return {*self.suspects, *self.others}

    def judged(self, agreed: set[Key], told: dict[str, int]) -> Judged:
        """What was agreed on."""
        suspects = [one for key, one in self.suspects.items() if key in agreed]
        others = [one for key, one in self.others.items() if key in agreed]
        return described(self.ledger, self.owners, suspects, others, told)


def judged_live(prog: drgn.Program) -> Judged:
    """Read and judge a kernel that runs.

    After each walk the suspects' counters are read again for a while, and who changes is suspect no
    more; and a finding must come back with the same numbers every time.

    Raises:
        BadInput: as `judged`, in each of several tries.
    """
    agreed: set[Key] | None = None
    ever: set[Key] = set()
    looks = failures = 0
    while True:
        try:
            with as_bad_input():
                look = _look(take(prog, None))
                agreed = look.keys() if agreed is None else agreed & look.keys()
                ever |= look.keys()
                looks += 1
                if looks >= LOOKS or not agreed:
                    told = {"looks": looks, "cleared_by_another_look": len(ever - agreed)}
                    return look.judged(agreed, told)
        except BadInput:  # what was followed has been freed meanwhile
            failures += 1
            if failures == MAX_FAILURES:
                raise


def _look(ledger: Ledger) -> _Look:
    owners = Owners(ledger)
    suspects = steady(ledger, provable(ledger, owners, judge(ledger.ptes, ledger.recorded)))
    where = np.array([suspect.index for suspect in suspects], np.int64)
    pfns = ledger.pages.pfns(where).tolist()
    mapcounts = ledger.recorded.raw_mapcount[where].tolist()
    refcounts = ledger.recorded.refcount[where].tolist()
    rows = zip(suspects, pfns, mapcounts, refcounts, strict=True)
    pages: dict[Key, Suspect] = {(one.cls, one.ptes, *numbers): one for one, *numbers in rows}
    others: dict[Key, Finding] = {
        (one.cls, one.ptes, tuple(owner.mm for owner in one.mappings)): one
        for one in rss_findings(ledger, owners)
    }
    for one in further_findings(ledger, owners, suspects, running=True):
        others[one.cls, one.pfn, one.refcount, one.note] = one
    return _Look(ledger, owners, pages, others)


def steady(ledger: Ledger, suspects: Suspects) -> Suspects:
    """Those whose counters stay what they were before the page tables were walked; the others are
    counted as not judged."""
    left = suspects
    for pause in PAUSES:
        if not left:
            break
        time.sleep(pause)
        same = _same(ledger, left).tolist()
        left = [suspect for suspect, good in zip(left, same, strict=True) if good]
    ledger.gaps[CHANGED] += len(suspects) - len(left)
    return left


def _same(ledger: Ledger, suspects: Suspects) -> Mask:
    pages = ledger.pages
    where = np.array([suspect.index for suspect in suspects], np.int64)
    heads = ledger.recorded.head[where]
    same = np.ones(len(where), bool)
    for name, at in (("raw_mapcount", where), ("refcount", heads), ("mapping", heads)):
        same &= pages.again(name, at) == pages.column(name, at)
    return same
