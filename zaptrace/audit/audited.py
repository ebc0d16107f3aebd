"""One audit: what is wrong with a kernel beyond doubt, and who asks for what of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import drgn
import numpy as np

from zaptrace.audit import columns, invariants
from zaptrace.audit.findings import MAX_FINDINGS, page_finding, rss_findings
from zaptrace.audit.further import further_findings
from zaptrace.audit.inspect import Inspector
from zaptrace.audit.optional import as_bad_input
from zaptrace.audit.pagetables.normal_pages import zero_pages
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState, read_state
from zaptrace.memory.registers import CpuRegisters
from zaptrace.model.findings import AuditResult, Finding, FindingClass, Unseen

Suspects = Sequence[invariants.Suspect]

GRAVITY = (
    *invariants.PRECEDENCE,
    FindingClass.TAIL_WITHOUT_HEAD,
    FindingClass.WRITABLE_BUT_SHARED,
    FindingClass.PTE_OUTSIDE_VMAS,
    FindingClass.WRITABLE_NOT_OWN,
    FindingClass.PTE_BEYOND_VMA,
    FindingClass.WRONG_FILE_PAGE,
    FindingClass.STALE_MIGRATION_ENTRY,
    FindingClass.WRONG_RMAP,
    FindingClass.FREE_LIST_BROKEN,
    FindingClass.LRU_FLAG_MISMATCH,
    FindingClass.LEFT_LOCKED,
    FindingClass.REFCOUNT_LEAKED,
    FindingClass.RSS_MISMATCH,
    FindingClass.LOCKED_VM_MISMATCH,
    FindingClass.MM_COUNTER_MISMATCH,
    FindingClass.HUGETLB_POOL_MISMATCH,
    FindingClass.IN_FLIGHT,
)
"""Finding classes, worst first."""
MAX_FOLLOWED = 1000
"""Rmaps followed to find out whether a page may be mapped where the walk could not read."""
HIDDEN = "pages that may be mapped where the audit could not look"


@dataclass(frozen=True, slots=True)
class Audited:
    """One kernel, and what is wrong with it.

    Attributes:
        state: what was read.
        owners: whose pages they are.
        findings: worst class first, then by PFN.
        rest: the pages beyond the first MAX_FINDINGS.
        looks: what several audits of a running kernel came to, empty for a stopped one.
        seconds: how long it took.
    """

    state: KernelState
    owners: Owners
    findings: tuple[Finding, ...]
    rest: tuple[invariants.Suspect, ...] = ()
    looks: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def result(self) -> AuditResult:
        """Return the audit as plain data, as `inspect --json` prints it."""
        state = self.state
        return AuditResult(
            kernel_release=state.release,
            pages=int(np.count_nonzero(state.recorded.known)),
            mms=len(state.mms),
            ptes=int(np.count_nonzero(state.counted)),
            seconds=self.seconds,
            findings=self.findings,
            unseen=tuple(
                Unseen(what, count) for what, count in sorted(state.gaps.items()) if count
            ),
            details=_details(state) | dict(self.looks),
        )

    def page_columns(self) -> dict[str, columns.Column]:
        """Return every struct page as columns of shape (pages,): see `columns.page_columns`."""
        return columns.page_columns(self.state)

    def pte_columns(self) -> dict[str, columns.Column]:
        """Return every leaf of the page tables as columns: see `columns.pte_columns`."""
        return columns.pte_columns(self.state, self.owners)

    def inspect(self) -> Inspector:
        """Return what answers questions about one page, process or address."""
        return Inspector(self.state, self.owners, self.findings, self.rest)


def audit(prog: drgn.Program, *, cpus: Sequence[CpuRegisters] | None = None) -> Audited:
    """Compare every page table of a stopped kernel with every page's counters.

    Args:
        prog: the kernel's memory (`zaptrace.memory`).
        cpus: the CPUs' registers where they are known: a finding in flight
            then says what the CPU is doing.

    Raises:
        BadInput: an architecture whose page tables are not known, or a dump in
            which the struct pages or the mm_structs cannot be found.
    """
    started = time.perf_counter()
    with as_bad_input():
        state = read_state(prog, cpus)
        owners = Owners(state)
        suspects = provable(state, owners, invariants.judge(state.ptes, state.recorded))
        others = [*rss_findings(state, owners), *further_findings(state, owners, suspects)]
        return described(state, owners, suspects, others, started)


def described(
    state: KernelState,
    owners: Owners,
    suspects: Suspects,
    others: Sequence[Finding],
    started: float,
    looks: Mapping[str, Any] | None = None,
) -> Audited:
    """Return the audit with findings in words, of the first MAX_FINDINGS suspects.

    Args:
        others: the findings that do not come of suspects.
        started: when the audit began, `time.perf_counter()`.
        looks: see `Audited`.
    """
    findings = [page_finding(state, owners, suspect) for suspect in suspects[:MAX_FINDINGS]]
    rest = tuple(suspects[MAX_FINDINGS:])
    state.gaps[f"findings beyond the first {MAX_FINDINGS:,}"] = len(rest)
    ranked = tuple(sorted([*findings, *others], key=_gravity))
    return Audited(state, owners, ranked, rest, looks or {}, time.perf_counter() - started)


def provable(state: KernelState, owners: Owners, suspects: Suspects) -> Suspects:
    """Return the suspects without those that may be mapped where the audit could not look.

    Those are counted among the gaps.
    """
    if state.whole and not state.blind:
        return suspects
    sure: list[invariants.Suspect] = []
    followed = 0
    for suspect in suspects:
        if suspect.cls is FindingClass.MORE_MAPCOUNT_THAN_PTES:
            followed += 1
            if followed > MAX_FOLLOWED or _may_be_hidden(state, owners, suspect.index):
                continue
        sure.append(suspect)
    state.gaps[HIDDEN] += len(suspects) - len(sure)
    return sure


def _may_be_hidden(state: KernelState, owners: Owners, index: int) -> bool:
    head = int(state.recorded.head[index])
    return not state.whole or owners.may_be_in(state.blind, index, head)


def _gravity(finding: Finding) -> tuple[int, int]:
    return GRAVITY.index(finding.cls), -1 if finding.pfn is None else finding.pfn


def _details(state: KernelState) -> dict[str, Any]:
    walked = state.walked
    zeros = zero_pages(state.prog)
    special = np.flatnonzero(~state.normal)
    in_zeros = (walked.pfn[special] >= zeros.start) & (walked.pfn[special] < zeros.stop)
    return {
        "page_tables": walked.tables,
        "special_ptes": len(special),
        "zero_page_ptes": int(np.count_nonzero(in_zeros)),
        "large_leaves": walked.large,
        "not_present": state.absent.by_kind(),
        "free_pages": int(np.count_nonzero(state.recorded.free)),
        "mms_in_flight": len(state.in_flight),
        "in_flight": sorted(state.mms[number].address for number in state.in_flight),
    }
