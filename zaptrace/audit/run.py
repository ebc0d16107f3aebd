"""One audit: walk, count, compare, and say whose pages disagree."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import drgn
import numpy as np

from zaptrace.audit import reconcile
from zaptrace.audit.broken import as_bad_input
from zaptrace.audit.describe import MAX_FINDINGS, page_finding, rss_findings
from zaptrace.audit.ledger import Ledger, take
from zaptrace.audit.owners import Owners
from zaptrace.audit.special import zero_pages
from zaptrace.memory.registers import CpuRegisters
from zaptrace.model.errors import BadInput
from zaptrace.model.findings import AuditResult, Finding, FindingClass, Unseen

Suspects = Sequence[reconcile.Suspect]

GRAVITY = (*reconcile.PRECEDENCE, FindingClass.RSS_MISMATCH, FindingClass.IN_FLIGHT)
"""Finding classes, worst first."""
LOOKS = 3
"""How often a running kernel is looked at."""
MAX_FAILURES = 5
MAX_FOLLOWED = 1000
"""Rmaps that are followed to tell whether a page may be mapped in a place that was not seen."""
HIDDEN = "pages that may be mapped where the audit could not look"


def audit(prog: drgn.Program, *, cpus: Sequence[CpuRegisters] | None = None) -> AuditResult:
    """Compare every page table with every page's counters.

    Args:
        prog: a stopped kernel's memory (`zaptrace.memory`).
        cpus: the CPUs' registers where they are known: a finding in flight
            then says what the CPU is doing.

    Returns:
        Findings worst class first, then by PFN.

    Raises:
        BadInput: an architecture whose page tables are not known, or a dump in
            which the struct pages or the mm_structs cannot be found.
    """
    with as_bad_input():
        return _audit(prog, cpus)


def audit_live(prog: drgn.Program) -> AuditResult:
    """The same of a kernel that runs: only what several looks in a row agree on.

    A page that changes between the reading of its counters and of its page tables looks wrong.
    So after each walk the counters of the suspects are read again, and who has changed is
    suspect no more; and a finding must come back with the same numbers every time.

    Raises:
        BadInput: as `audit`, in each of several tries.
    """
    results: list[AuditResult] = []
    failures = 0
    while len(results) < LOOKS:
        try:
            with as_bad_input():
                results.append(_audit(prog, None, _unchanged))
        except BadInput:  # what was followed has been freed meanwhile
            failures += 1
            if failures == MAX_FAILURES:
                raise
    *earlier, last = results
    again = [{_seen(finding) for finding in one.findings} for one in earlier]
    kept = tuple(one for one in last.findings if all(_seen(one) in others for others in again))
    cleared = len({_seen(one) for result in results for one in result.findings}) - len(kept)
    return dataclasses.replace(
        last,
        seconds=sum(result.seconds for result in results),
        findings=kept,
        details=last.details | {"looks": LOOKS, "cleared_by_another_look": cleared},
    )


def _unchanged(ledger: Ledger, suspects: Suspects) -> Suspects:
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


def _audit(
    prog: drgn.Program,
    cpus: Sequence[CpuRegisters] | None,
    chosen: Callable[[Ledger, Suspects], Suspects] = lambda _, suspects: suspects,
) -> AuditResult:
    started = time.perf_counter()
    ledger = take(prog, cpus)
    owners = Owners(ledger)
    suspects = _provable(ledger, owners, reconcile.judge(ledger.ptes, ledger.recorded))
    suspects = chosen(ledger, suspects)
    findings = [page_finding(ledger, owners, suspect) for suspect in suspects[:MAX_FINDINGS]]
    findings += rss_findings(ledger, owners)
    ledger.gaps[f"findings beyond the first {MAX_FINDINGS:,}"] = len(suspects[MAX_FINDINGS:])
    return AuditResult(
        kernel_release=ledger.release,
        pages=int(np.count_nonzero(ledger.recorded.known)),
        mms=len(ledger.mms),
        ptes=int(np.count_nonzero(ledger.counted)),
        seconds=time.perf_counter() - started,
        findings=tuple(sorted(findings, key=_gravity)),
        unseen=tuple(Unseen(what, count) for what, count in sorted(ledger.gaps.items()) if count),
        details=_details(ledger),
    )


def _provable(ledger: Ledger, owners: Owners, suspects: Suspects) -> Suspects:
    """Without those that may be mapped where the audit could not look."""
    if ledger.whole and not ledger.blind:
        return suspects
    sure, followed = [], 0
    for one in suspects:
        if one.cls is FindingClass.MORE_MAPCOUNT_THAN_PTES:
            followed += 1
            head = int(ledger.recorded.head[one.index])
            if (
                not ledger.whole
                or followed > MAX_FOLLOWED
                or owners.may_be_in(ledger.blind, one.index, head)
            ):
                continue
        sure.append(one)
    ledger.gaps[HIDDEN] += len(suspects) - len(sure)
    return sure


def _gravity(finding: Finding) -> tuple[int, int]:
    return GRAVITY.index(finding.cls), -1 if finding.pfn is None else finding.pfn


def _details(ledger: Ledger) -> dict[str, Any]:
    walked = ledger.walked
    zeros = zero_pages(ledger.prog)
    special = np.flatnonzero(~ledger.normal)
    in_zeros = (walked.pfn[special] >= zeros.start) & (walked.pfn[special] < zeros.stop)
    return {
        "page_tables": walked.tables,
        "special_ptes": len(special),
        "zero_page_ptes": int(np.count_nonzero(in_zeros)),
        "large_leaves": int(np.count_nonzero(walked.level != len(ledger.fmt.levels) - 1)),
        "not_present": ledger.absent.by_kind(),
        "free_pages": int(np.count_nonzero(ledger.recorded.free)),
        "mms_in_flight": len(ledger.in_flight),
        "in_flight": sorted(ledger.mms[number].address for number in ledger.in_flight),
    }
