"""What is wrong with a kernel beyond doubt: the rules, less what cannot be proved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import drgn
import numpy as np

from zaptrace.audit import reconcile
from zaptrace.audit.broken import as_bad_input
from zaptrace.audit.describe import MAX_FINDINGS, page_finding, rss_findings
from zaptrace.audit.ledger import Ledger, take
from zaptrace.audit.owners import Owners
from zaptrace.memory.registers import CpuRegisters
from zaptrace.model.errors import BadInput
from zaptrace.model.findings import Finding, FindingClass

Suspects = Sequence[reconcile.Suspect]

GRAVITY = (*reconcile.PRECEDENCE, FindingClass.RSS_MISMATCH, FindingClass.IN_FLIGHT)
"""Finding classes, worst first."""
LOOKS = 3
"""How often a running kernel is looked at."""
MAX_FAILURES = 5
MAX_FOLLOWED = 1000
"""Rmaps that are followed to tell whether a page may be mapped in a place that was not seen."""
HIDDEN = "pages that may be mapped where the audit could not look"


@dataclass(frozen=True, slots=True)
class Judged:
    """One kernel, and what is wrong with it.

    Attributes:
        ledger: what was read.
        owners: whose pages they are.
        findings: worst class first, then by PFN.
        rest: the pages beyond the first MAX_FINDINGS.
        looks: what several looks came to, empty for a kernel that stands still.
    """

    ledger: Ledger
    owners: Owners
    findings: tuple[Finding, ...]
    rest: tuple[reconcile.Suspect, ...] = ()
    looks: Mapping[str, Any] = field(default_factory=dict)


def judged(prog: drgn.Program, cpus: Sequence[CpuRegisters] | None = None) -> Judged:
    """Read and judge a kernel that stands still.

    Raises:
        BadInput: see `audit`.
    """
    with as_bad_input():
        return _look(take(prog, cpus), provable)


def judged_live(prog: drgn.Program) -> Judged:
    """The same of a kernel that runs: only what several looks in a row agree on.

    A page that changes between the reading of its counters and of its page tables looks wrong.
    So after each walk the counters of the suspects are read again, and who has changed is
    suspect no more; and a finding must come back with the same numbers every time.

    Raises:
        BadInput: as `judged`, in each of several tries.
    """
    looks: list[Judged] = []
    failures = 0
    while len(looks) < LOOKS:
        try:
            with as_bad_input():
                looks.append(_look(take(prog, None), _provable_and_unchanged))
        except BadInput:  # what was followed has been freed meanwhile
            failures += 1
            if failures == MAX_FAILURES:
                raise
    *earlier, last = looks
    again = [{_seen(finding) for finding in one.findings} for one in earlier]
    kept = tuple(one for one in last.findings if all(_seen(one) in others for others in again))
    cleared = len({_seen(one) for look in looks for one in look.findings}) - len(kept)
    told = {"looks": LOOKS, "cleared_by_another_look": cleared}
    return dataclasses.replace(last, findings=kept, rest=(), looks=told)


def _look(ledger: Ledger, chosen: Callable[[Ledger, Owners, Suspects], Suspects]) -> Judged:
    owners = Owners(ledger)
    suspects = chosen(ledger, owners, reconcile.judge(ledger.ptes, ledger.recorded))
    findings = [page_finding(ledger, owners, suspect) for suspect in suspects[:MAX_FINDINGS]]
    findings += rss_findings(ledger, owners)
    rest = tuple(suspects[MAX_FINDINGS:])
    ledger.gaps[f"findings beyond the first {MAX_FINDINGS:,}"] = len(rest)
    return Judged(ledger, owners, tuple(sorted(findings, key=_gravity)), rest)


def provable(ledger: Ledger, owners: Owners, suspects: Suspects) -> Suspects:
    """Without those that may be mapped where the audit could not look, which are counted."""
    if ledger.whole and not ledger.blind:
        return suspects
    sure: list[reconcile.Suspect] = []
    followed = 0
    for suspect in suspects:
        if suspect.cls is FindingClass.MORE_MAPCOUNT_THAN_PTES:
            followed += 1
            if followed > MAX_FOLLOWED or _may_be_hidden(ledger, owners, suspect.index):
                continue
        sure.append(suspect)
    ledger.gaps[HIDDEN] += len(suspects) - len(sure)
    return sure


def _may_be_hidden(ledger: Ledger, owners: Owners, index: int) -> bool:
    head = int(ledger.recorded.head[index])
    return not ledger.whole or owners.may_be_in(ledger.blind, index, head)


def _provable_and_unchanged(ledger: Ledger, owners: Owners, suspects: Suspects) -> Suspects:
    return unchanged(ledger, provable(ledger, owners, suspects))


def unchanged(ledger: Ledger, suspects: Suspects) -> Suspects:
    """Those whose counters still are what they were before the page tables were walked."""
    pages = ledger.pages
    where = np.array([suspect.index for suspect in suspects], np.int64)
    heads = ledger.recorded.head[where]
    same = np.ones(len(where), bool)
    for name, at in (("raw_mapcount", where), ("refcount", heads), ("mapping", heads)):
        same &= pages.again(name, at) == pages.column(name, at)
    return [suspect for suspect, good in zip(suspects, same.tolist(), strict=True) if good]


def _seen(finding: Finding) -> tuple[object, ...]:
    """What must be the same at each look."""
    mms = tuple(owner.mm for owner in finding.mappings) if finding.pfn is None else ()
    counters = (finding.ptes, finding.mapcount, finding.refcount)
    return finding.cls, finding.pfn, *counters, mms


def _gravity(finding: Finding) -> tuple[int, int]:
    return GRAVITY.index(finding.cls), -1 if finding.pfn is None else finding.pfn
