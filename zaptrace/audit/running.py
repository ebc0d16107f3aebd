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
from zaptrace.audit.audited import Audited, Suspects, described, provable
from zaptrace.audit.findings import rss_findings
from zaptrace.audit.further import further_findings
from zaptrace.audit.invariants import Suspect, judge
from zaptrace.audit.optional import as_bad_input
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState, read_state
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

    state: KernelState
    owners: Owners
    suspects: dict[Key, Suspect]
    others: dict[Key, Finding]

    def keys(self) -> set[Key]:
        return {*self.suspects, *self.others}

    def audited(self, agreed: set[Key], looks: dict[str, int], started: float) -> Audited:
        """Return the audit with the findings that every look agreed on."""
        suspects = [one for key, one in self.suspects.items() if key in agreed]
        others = [one for key, one in self.others.items() if key in agreed]
        return described(self.state, self.owners, suspects, others, started, looks)


def audit_running(prog: drgn.Program) -> Audited:
    """Audit a kernel while it runs.

    After each walk the suspects' counters are read again for a while, and who changes is suspect no
    more; and a finding must come back with the same numbers every time.

    Raises:
        BadInput: as `audit`, in each of several tries.
    """
    started = time.perf_counter()
    agreed: set[Key] | None = None
    ever: set[Key] = set()
    looks = failures = 0
    while True:
        try:
            with as_bad_input():
                look = _look(read_state(prog, None))
                agreed = look.keys() if agreed is None else agreed & look.keys()
                ever |= look.keys()
                looks += 1
                if looks >= LOOKS or not agreed:
                    details = {"looks": looks, "cleared_by_another_look": len(ever - agreed)}
                    return look.audited(agreed, details, started)
        except BadInput:  # what was followed has been freed meanwhile
            failures += 1
            if failures == MAX_FAILURES:
                raise


def _look(state: KernelState) -> _Look:
    owners = Owners(state)
    suspects = steady(state, provable(state, owners, judge(state.ptes, state.recorded)))
    where = np.array([suspect.index for suspect in suspects], np.int64)
    pfns = state.pages.pfns(where).tolist()
    mapcounts = state.recorded.raw_mapcount[where].tolist()
    refcounts = state.recorded.refcount[where].tolist()
    rows = zip(suspects, pfns, mapcounts, refcounts, strict=True)
    pages: dict[Key, Suspect] = {(one.cls, one.ptes, *numbers): one for one, *numbers in rows}
    others: dict[Key, Finding] = {
        (one.cls, one.ptes, tuple(owner.mm for owner in one.mappings)): one
        for one in rss_findings(state, owners)
    }
    for one in further_findings(state, owners, suspects, running=True):
        others[one.cls, one.pfn, one.refcount, one.note] = one
    return _Look(state, owners, pages, others)


def steady(state: KernelState, suspects: Suspects) -> Suspects:
    """Those whose counters stay what they were before the page tables were walked; the others are
    counted as not judged."""
    left = suspects
    for pause in PAUSES:
        if not left:
            break
        time.sleep(pause)
        same = _same(state, left).tolist()
        left = [suspect for suspect, good in zip(left, same, strict=True) if good]
    state.gaps[CHANGED] += len(suspects) - len(left)
    return left


def _same(state: KernelState, suspects: Suspects) -> Mask:
    pages = state.pages
    where = np.array([suspect.index for suspect in suspects], np.int64)
    heads = state.recorded.head[where]
    same = np.ones(len(where), bool)
    for name, at in (("raw_mapcount", where), ("refcount", heads), ("mapping", heads)):
        same &= pages.again(name, at) == pages.column(name, at)
    return same
