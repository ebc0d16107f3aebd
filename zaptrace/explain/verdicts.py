"""Evidence -> verdict."""

from __future__ import annotations

import re

from zaptrace.explain.doubts import doubts, gaps
from zaptrace.explain.evidence import Evidence
from zaptrace.explain.order import order
from zaptrace.explain.rules import RULES, Case
from zaptrace.explain.sites import code_sites
from zaptrace.explain.story import pages_at_fault, stories
from zaptrace.explain.wording import summary
from zaptrace.model.findings import Finding, FindingClass
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import Verdict, VerdictKind

MOST_PROOF = 16
"""Findings that a verdict carries as proof; the audit's own document has them all."""

# An init that ends its own life ends the boot, and is no bug (kernel/exit.c).  A boot that
# never got an init (init/main.c, init/do_mounts.c) is no bug either, but shows nothing.
_INIT_ENDED = re.compile(r"Kernel panic - not syncing: Attempted to kill init")


def explain(evidence: Evidence) -> Verdict:
    """Say what went wrong in a run, never more than the evidence allows.  Pure.

    The first story that a rule explains is the verdict; stories of weaker
    evidence are not asked once a stronger one exists (see `stories`).
    """
    first: Case | None = None
    for story in stories(evidence):
        case = Case(story, code_sites(story, evidence), evidence)
        first = first or case
        for kind, applies in RULES:
            if applies(case):
                return _of_page(case, kind)
    return _of_page(first, VerdictKind.UNEXPLAINED) if first else _without_page(evidence)


def _of_page(case: Case, kind: VerdictKind) -> Verdict:
    story = case.story
    return Verdict(
        kind=kind,
        summary=summary(case, kind, pages_at_fault(case.evidence)),
        pfn=story.pfn,
        comm=story.comm,
        pid=story.pid,
        order=order(story, kind, case.evidence),
        sites=case.sites,
        proof=(story.finding,) if story.finding else (),
        doubts=doubts(case, kind),
    )


def _without_page(evidence: Evidence) -> Verdict:
    """No page is known to be wrong: counters of an mm, something else, or nothing at all."""
    rss = _rss_mismatch(evidence)
    if rss:
        return rss
    reports = [splat for splat in evidence.splats if _is_bug(splat)]
    nameless = [splat for splat in evidence.splats if splat.kind.startswith("bad_page")]
    if nameless or reports or (evidence.stopped_inside and not _is_user_space_s_end(evidence)):
        return _unknown(evidence, [*nameless, *reports])
    return _clean(evidence)


def _rss_mismatch(evidence: Evidence) -> Verdict | None:
    findings = _findings(evidence, FindingClass.RSS_MISMATCH)
    splats = [splat for splat in evidence.splats if splat.kind == "bad_rss_counter"]
    if not findings and not splats:
        return None
    said = [
        f"{splat.rss_type or 'a counter'} {splat.rss_value:+d}"
        for splat in splats[:4]
        if splat.rss_value is not None
    ]
    where = f" ({', '.join(said)} pages when an mm was freed)" if said else ""
    return Verdict(
        VerdictKind.RSS_MISMATCH,
        f"An mm's resident-set counters do not agree with what it maps{where}; no page is "
        "known to be wrong.",
        comm=splats[0].comm if splats else None,
        pid=splats[0].pid if splats else None,
        proof=findings[:MOST_PROOF],
        doubts=gaps(evidence),
    )


def _unknown(evidence: Evidence, splats: list[Splat]) -> Verdict:
    what = f"The run ended in {'bad_page()' if evidence.ended == 'bad_page' else 'a panic'}"
    if splats:
        what = f"The kernel complained ({splats[0].reason or splats[0].kind.replace('_', ' ')})"
    return Verdict(
        VerdictKind.UNEXPLAINED,
        f"{what}, but no page is known to be wrong.",
        comm=splats[0].comm if splats else None,
        pid=splats[0].pid if splats else None,
        doubts=gaps(evidence),
    )


def _clean(evidence: Evidence) -> Verdict:
    audit = evidence.audit
    seen = "No page was refused or freed while mapped"
    if audit:
        seen += (
            f", and in the dump the counters of {audit.pages} pages agree with {audit.ptes} PTEs "
            f"in {audit.mms} mms"
        )
    others = [f"Not a matter of pages, not explained: {one.reason}" for one in evidence.splats[:3]]
    return Verdict(VerdictKind.CLEAN, f"{seen}.", doubts=(*gaps(evidence), *others))


def _findings(evidence: Evidence, cls: FindingClass) -> tuple[Finding, ...]:
    findings = evidence.audit.findings if evidence.audit else ()
    return tuple(finding for finding in findings if finding.cls is cls)


def _is_bug(splat: Splat) -> bool:
    """A report of the kernel's own failure: not a warning, not user space's end."""
    reason = splat.reason or ""
    return (
        splat.kind == "other"
        and not reason.startswith("WARNING:")
        and not _INIT_ENDED.match(reason)
    )


def _is_user_space_s_end(evidence: Evidence) -> bool:
    return any(_INIT_ENDED.match(splat.reason or "") for splat in evidence.splats)
