"""What is wrong with a kernel beyond doubt: the rules, less what cannot be proved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import drgn

from zaptrace.audit import invariants
from zaptrace.audit.findings import MAX_FINDINGS, page_finding, rss_findings
from zaptrace.audit.further import further_findings
from zaptrace.audit.optional import as_bad_input
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import Ledger, take
from zaptrace.memory.registers import CpuRegisters
from zaptrace.model.findings import Finding, FindingClass

Suspects = Sequence[invariants.Suspect]

GRAVITY = (
    *invariants.PRECEDENCE,
    FindingClass.WRONG_RMAP,
    FindingClass.REFCOUNT_LEAKED,
    FindingClass.RSS_MISMATCH,
    FindingClass.LOCKED_VM_MISMATCH,
    FindingClass.HUGETLB_POOL_MISMATCH,
    FindingClass.IN_FLIGHT,
)
"""Finding classes, worst first."""
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
    rest: tuple[invariants.Suspect, ...] = ()
    looks: Mapping[str, Any] = field(default_factory=dict)


def judged(prog: drgn.Program, cpus: Sequence[CpuRegisters] | None = None) -> Judged:
    """Read and judge a kernel that stands still.

    Raises:
        BadInput: see `audit`.
    """
    with as_bad_input():
        ledger = take(prog, cpus)
        owners = Owners(ledger)
        suspects = provable(ledger, owners, invariants.judge(ledger.ptes, ledger.recorded))
        others = [*rss_findings(ledger, owners), *further_findings(ledger, owners, suspects)]
        return described(ledger, owners, suspects, others)


def described(
    ledger: Ledger,
    owners: Owners,
    suspects: Suspects,
    others: Sequence[Finding],
    looks: Mapping[str, Any] | None = None,
) -> Judged:
    """Findings in words, of the first MAX_FINDINGS suspects.

    Args:
        others: the findings that do not come of suspects.
        looks: see `Judged`.
    """
    findings = [page_finding(ledger, owners, suspect) for suspect in suspects[:MAX_FINDINGS]]
    rest = tuple(suspects[MAX_FINDINGS:])
    ledger.gaps[f"findings beyond the first {MAX_FINDINGS:,}"] = len(rest)
    ranked = tuple(sorted([*findings, *others], key=_gravity))
    return Judged(ledger, owners, ranked, rest, looks or {})


def provable(ledger: Ledger, owners: Owners, suspects: Suspects) -> Suspects:
    """Without those that may be mapped where the audit could not look, which are counted."""
    if ledger.whole and not ledger.blind:
        return suspects
    sure: list[invariants.Suspect] = []
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


def _gravity(finding: Finding) -> tuple[int, int]:
    return GRAVITY.index(finding.cls), -1 if finding.pfn is None else finding.pfn
