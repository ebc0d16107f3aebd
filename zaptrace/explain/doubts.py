"""Doubts: what the evidence at hand cannot settle, and what would."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.explain.evidence import Evidence
from zaptrace.explain.names import page
from zaptrace.explain.rules import Case, removals_are_seen
from zaptrace.explain.sites import freed_in_zap
from zaptrace.model.verdict import VerdictKind


def doubts(case: Case, kind: VerdictKind) -> tuple[str, ...]:
    """What the evidence cannot settle, and what would."""
    return tuple(_doubts(case, kind))


def _doubts(case: Case, kind: VerdictKind) -> Iterator[str]:
    story, evidence = case.story, case.evidence
    early = kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED
    if early and not story.removed_late and evidence.stopped_inside:
        yield (
            "The kernel was stopped before the rmap removal: that it comes late, and not never, "
            "is seen when it runs on (repro --stop-at exit)."
        )
    yield from _of_events(case)
    if evidence.audit is None:
        yield "No page tables were audited: `zaptrace inspect` of a dump counts the page's PTEs."
    elif story.finding is None:
        yield f"The audit has nothing to say of {page(story)}."
    if (story.fault or story.state) and not freed_in_zap(case.sites):
        yield (
            "No return address of the free could be traced to a line of a zap function: "
            "a stack and a vmlinux with DWARF would name it."
        )


def _of_events(case: Case) -> Iterator[str]:
    evidence = case.evidence
    if evidence.events is None:
        yield "No events were recorded; `zaptrace repro` records them."
        return
    if evidence.lost:
        yield (
            f"{evidence.lost} events were lost: an event that is not seen may have happened. "
            "A larger trace buffer would settle it."
        )
    elif not removals_are_seen(case):
        yield "No rmap removal was recorded: `zaptrace probes` says which probes this kernel has."
    if case.story.fault and not case.story.zap:
        yield "The zap that the page was freed in was not recorded."


def gaps(evidence: Evidence) -> tuple[str, ...]:
    """What a verdict without a page rests on no evidence for."""
    missing = []
    if evidence.events is None:
        missing.append("No events were recorded: only console and audit speak.")
    if evidence.lost:
        missing.append(f"{evidence.lost} events were lost.")
    if evidence.audit is None:
        missing.append("No page tables were audited: no dump was taken.")
    else:
        missing += [
            f"Not seen by the audit: {gap.count} {gap.what}" for gap in evidence.audit.unseen
        ]
    if evidence.ended == "timeout":
        missing.append("The time limit ended the run, not the guest.")
    return tuple(missing)
