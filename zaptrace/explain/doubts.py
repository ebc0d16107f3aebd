"""Doubts: what the available evidence cannot settle, and what would."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.explain.evidence import ENDS, LOG, Evidence
from zaptrace.explain.naming import page
from zaptrace.explain.predicates import (
    Case,
    busy_mms,
    freed_while_counted,
    ptes_at_the_stop,
    removals_are_seen,
    seen_at_its_free,
    zap_is_over,
)
from zaptrace.explain.sites import (
    freed_by_gather,
    freed_elsewhere,
    freed_in_an_interrupt,
    freed_in_zap,
)
from zaptrace.model.verdict import VerdictKind
from zaptrace.splat.kinds import TITLES
from zaptrace.triage.console import Console
from zaptrace.triage.rows_console import checks_off

MOST_PRINTED = 60
"""Reports of one kind a minute (nr_shown in mm/page_alloc.c and mm/memory.c)."""


def doubts(case: Case, kind: VerdictKind) -> tuple[str, ...]:
    """Return what the evidence cannot settle, and what would."""
    if case.story.counters or kind is VerdictKind.RSS_MISMATCH:
        return gaps(case.evidence)
    open_questions = _open(case) if kind is VerdictKind.UNEXPLAINED else ()
    return tuple(dict.fromkeys((*open_questions, *_doubts(case))))


def _open(case: Case) -> Iterator[str]:
    """Yield what would leave fewer readings."""
    story, ptes = case.story, ptes_at_the_stop(case)
    if freed_in_an_interrupt(case.sites):
        yield "The page was freed by an interrupt in the middle of the zap, not by the zap."
    elif freed_while_counted(case):
        if ptes is None:
            yield (
                "An audit of a dump taken at that moment would show whether a PTE still maps the "
                "page (refcount_overput) or not."
            )
        if not freed_elsewhere(case.sites) and not (removals_are_seen(case) and zap_is_over(case)):
            yield (
                "The events after the free would show whether its rmap removal comes late "
                "(freed_before_rmap_removed) or never (mapping_leaked): `zaptrace repro` records "
                "them."
            )
    finding = story.finding
    if finding and not story.fault and busy_mms(case) != frozenset():
        yield (
            f"A CPU was changing page tables when the dump was taken: what {page(story)} lacks "
            "may have been about to come. A dump of a kernel at rest (repro --stop-at exit), or "
            "the events, would settle that."
        )


def _doubts(case: Case) -> Iterator[str]:
    story, evidence = case.story, case.evidence
    yield from _of_events(case)
    yield from _held_back(evidence)
    if evidence.ended == "timeout":
        yield "The time limit ended the run, not the guest."
    if evidence.audit is None:
        yield "No page tables were audited: `zaptrace inspect` of a dump counts the page's PTEs."
    elif (story.fault or story.state) and not story.stopped:
        yield (
            f"The guest was not stopped when {page(story)} was refused: the page tables of the "
            "dump are those of another moment, and are not used here."
        )
    elif story.finding is None:
        yield f"The audit has nothing to say of {page(story)}."
    where_freed = freed_in_zap(case.sites) or freed_by_gather(case.sites)
    where_freed = where_freed or freed_elsewhere(case.sites)
    if not seen_at_its_free(case):
        yield "page_owner=on on the kernel's command line would show who freed the page."
    elif (story.fault or story.state) and not where_freed:
        yield (
            "No return address of the free could be traced to a line of a zap function: "
            "a stack and a vmlinux with DWARF would name it."
        )


def _held_back(evidence: Evidence) -> Iterator[str]:
    """Yield that a count is a lower bound: bad_page() and print_bad_pte() print 60 reports a minute
    each.

    How many a kernel held back it says when it prints the next one.
    """
    if evidence.events is not None:
        return
    for kind in ("bad_page_state", "bad_page_map"):
        printed = [splat for splat in evidence.splats if splat.kind == kind]
        held = sum(splat.suppressed or 0 for splat in printed)
        if held or len(printed) >= MOST_PRINTED:
            more = f"{held} more were held back" if held else "more may have been held back"
            yield (
                f'The console has {len(printed)} reports "{TITLES[kind]}", of which a kernel '
                f"prints {MOST_PRINTED} a minute: {more}."
            )


def _of_events(case: Case) -> Iterator[str]:
    evidence = case.evidence
    if evidence.events is None:
        yield "No events were recorded; `zaptrace repro` records them."
        return
    yield from evidence.unseen_events
    zap = case.story.zap or case.story.freed_in
    if case.story.fault and not zap and not freed_elsewhere(case.sites):
        yield "The zap that the page was freed in was not recorded."


def log_gaps(evidence: Evidence) -> Iterator[str]:
    """Yield what a log does not show: the boot's beginning, and what the kernel did not check."""
    boot = evidence.boot
    if boot is not None and not boot.lines:
        yield "No line of the log is known to be a kernel's."
    elif boot is not None and boot.release is None:
        yield "The log does not hold the boot's beginning: what was reported before is not seen."
    if boot is not None and (off := checks_off(Console(tuple(evidence.splats), boot))):
        yield off


def gaps(evidence: Evidence) -> tuple[str, ...]:
    """Return what a verdict without a page rests on no evidence for."""
    missing = []
    if evidence.events is None:
        missing.append(
            "No events were recorded: a page that the kernel did not look at may be wrong."
        )
    missing += evidence.unseen_events
    if evidence.audit is None:
        missing.append("No page tables were audited: no dump was taken.")
        if "splat" not in evidence.parts:
            missing.append(
                "Resident-set counters are not seen by probes (rss_mismatch): the console, or an "
                "audit, would show them."
            )
    else:
        missing += [
            f"Not seen by the audit: {gap.count} {gap.what}" for gap in evidence.audit.unseen
        ]
    if evidence.ended == "timeout":
        missing.append("The time limit ended the run, not the guest.")
    elif evidence.ended == "hang":
        missing.append("The guest hung: what it would have done next is not known.")
    elif evidence.ended == LOG:
        missing += log_gaps(evidence)
    elif evidence.ended not in ENDS:
        missing.append("The run was cut short.")
    return tuple(missing)
