"""One audit: walk, count, compare, and say whose pages disagree."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import drgn
import numpy as np

from zaptrace.audit.pagetables.normal_pages import zero_pages
from zaptrace.audit.proved import Judged, judged
from zaptrace.audit.running import judged_live
from zaptrace.audit.state import Ledger
from zaptrace.memory.registers import CpuRegisters
from zaptrace.model.findings import AuditResult, Unseen


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
    return _timed(lambda: judged(prog, cpus))


def audit_live(prog: drgn.Program) -> AuditResult:
    """The same of a kernel that runs: see `judged_live`.

    Raises:
        BadInput: as `audit`, in each of several tries.
    """
    return _timed(lambda: judged_live(prog))


def _timed(work: Callable[[], Judged]) -> AuditResult:
    started = time.perf_counter()
    found = work()
    return result_of(found, time.perf_counter() - started)


def result_of(found: Judged, seconds: float) -> AuditResult:
    """What was judged, as plain data.

    Args:
        seconds: how long it took.
    """
    ledger = found.ledger
    return AuditResult(
        kernel_release=ledger.release,
        pages=int(np.count_nonzero(ledger.recorded.known)),
        mms=len(ledger.mms),
        ptes=int(np.count_nonzero(ledger.counted)),
        seconds=seconds,
        findings=found.findings,
        unseen=tuple(Unseen(what, count) for what, count in sorted(ledger.gaps.items()) if count),
        details=_details(ledger) | dict(found.looks),
    )


def _details(ledger: Ledger) -> dict[str, Any]:
    walked = ledger.walked
    zeros = zero_pages(ledger.prog)
    special = np.flatnonzero(~ledger.normal)
    in_zeros = (walked.pfn[special] >= zeros.start) & (walked.pfn[special] < zeros.stop)
    return {
        "page_tables": walked.tables,
        "special_ptes": len(special),
        "zero_page_ptes": int(np.count_nonzero(in_zeros)),
        "large_leaves": walked.large,
        "not_present": ledger.absent.by_kind(),
        "free_pages": int(np.count_nonzero(ledger.recorded.free)),
        "mms_in_flight": len(ledger.in_flight),
        "in_flight": sorted(ledger.mms[number].address for number in ledger.in_flight),
    }
