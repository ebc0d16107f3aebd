"""Evidence -> verdict."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import replace

import numpy as np

from zaptrace.explain.console_only import unexplained_kinds, without_page
from zaptrace.explain.doubts import doubts, gaps
from zaptrace.explain.event_view import moment
from zaptrace.explain.evidence import ENDS, LOG, Evidence
from zaptrace.explain.life_wording import life_sentences, sites_by_life
from zaptrace.explain.naming import reason_of
from zaptrace.explain.order import order
from zaptrace.explain.predicates import Case
from zaptrace.explain.rests_on import refer_all, whole
from zaptrace.explain.sites import code_sites
from zaptrace.explain.stories import COUNTERS, pages_at_fault, stories
from zaptrace.explain.story import Story
from zaptrace.explain.verdict_table import RANK, UNEXPLAINED, Rule, rule_of
from zaptrace.model.events import Kind
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import Reference, Sentence, Verdict, VerdictKind
from zaptrace.splat.kinds import about_pages, from_mm

MOST_PROOF = 16
"""Findings that a verdict carries as proof; the audit's own document has them all."""

# An init that ends its own life ends the boot, and is no bug (kernel/exit.c).  A boot that
# never got an init (init/main.c, init/do_mounts.c) is no bug either, but shows nothing.
_INIT_ENDED = re.compile(r"Kernel panic - not syncing: Attempted to kill init")

_BAD_ENTRIES = ("bad_page_map", "bad_page_table", "bad_swap_entry")
_QUIET = "The log holds no report about a page, a page table, a swap entry or an mm's counters."

Judged = tuple[Case, Rule]


def explain(evidence: Evidence) -> Verdict:
    """Say what went wrong in a run, never more than the evidence allows.  Pure.

    The page that the guest was stopped at is the verdict's; without a stop the first that
    events, or else splats, say was wrong; by the audit alone, which knows no order, the worst.
    The others are counted.
    """
    tiers = [[_judged(story, evidence) for story in tier] for tier in stories(evidence)]
    judged = [one for tier in tiers for one in tier]
    if not judged or _are_bystanders(judged, evidence):
        return _without_page(evidence)
    best = _chosen(tiers)
    return _of_story(*best, [one for one in judged if one[0] is not best[0]])


def _are_bystanders(judged: list[Judged], evidence: Evidence) -> bool:
    """Return whether pages were but dumped, and an entry of a page table is bad that names none."""
    stories = [case.story for case, _ in judged]
    dumped = all(one.report and one.report.kind == "page_dump" for one in stories)
    if evidence.ended != LOG or not dumped or any(one.state or one.map for one in stories):
        return False
    return any(splat.kind in _BAD_ENTRIES and splat.pfn is None for splat in evidence.splats)


def _chosen(tiers: list[list[Judged]]) -> Judged:
    judged = [one for tier in tiers for one in tier]
    at_the_stop = next((one for one in judged if one[0].story.stopped), None)
    if at_the_stop:
        return at_the_stop
    first = next(tier for tier in tiers if tier)
    if first[0][0].story.witnesses:
        return first[0]
    return min(first, key=lambda one: RANK[one[1]])  # of equals the first


def _judged(story: Story, evidence: Evidence) -> Judged:
    account = None
    if evidence.lives is not None and story.pfn is not None:
        until = story.freed_mapped.freed if story.freed_mapped else None
        account = evidence.lives.account(story.pfn, evidence.audit, until)
    case = Case(story, code_sites(story, evidence), evidence, account)
    return case, rule_of(case)


def _of_story(case: Case, rule: Rule, others: list[Judged]) -> Verdict:
    story = case.story
    pages = pages_at_fault(case.evidence, [story, *(one.story for one, _ in others)])
    sentences = (*rule.summary(case), *life_sentences(case), *_more(case, rule, others, pages))
    return Verdict(
        kind=rule.kind,
        sentences=sentences,
        pfn=story.pfn,
        comm=story.comm,
        pid=story.pid,
        order=order(case, rule.kind, cleared=rule.cleared_in_zap),
        sites=(*case.sites, *sites_by_life(case)),
        proof=(story.finding,) if story.finding else (story.rss + story.counters)[:MOST_PROOF],
        doubts=doubts(case, rule.kind),
        evidence=carried_by(case, rule),
        others=(
            *_counted(story.pfn, others, pages),
            *_unmentioned(sentences, case.evidence),
            *_deaths(case.evidence),
            *_other_counters(case),
        ),
        rule=rule.name,
    )


def carried_by(case: Case, rule: Rule) -> tuple[str, ...]:
    """Return the least evidence from which the same story has the same verdict."""
    there = case.evidence.parts
    for size in range(1, len(there)):
        for parts in itertools.combinations(there, size):
            if _judged(case.story.only(parts), case.evidence.only(parts))[1].kind is rule.kind:
                return parts
    return there


def _more(case: Case, rule: Rule, others: list[Judged], pages: int) -> tuple[Sentence, ...]:
    """Return how many pages more went wrong, and how many of them have the same story."""
    if pages < 2:
        return ()
    pfn = case.story.pfn
    tales = {one.story.pfn: (_tale(one, row), row) for one, row in others if one.story.witnesses}
    tales.pop(pfn, None)
    # Of the others less is known: no dump was taken when they went wrong.
    alike = {_tale(case, rule), _tale(*_judged(_without_audit(case.story), case.evidence))}
    counts = Counter(_likeness(rule, row, same=tale in alike) for tale, row in tales.values())
    said = [f"{many} {how}" for how, many in counts.items()]
    rest = pages - 1 - len(tales)
    said += [f"{rest} not looked at one by one"] if rest > 0 else []
    where = "log" if case.evidence.parts == ("splat",) else "run"
    text = f"{pages - 1} more page{'s' if pages > 2 else ''} went wrong in this {where}"
    pieces = [piece for one, _ in others for piece in one.story.witnesses[:1]]
    rests_on = refer_all(pieces) or whole(case.evidence, "recording", "console")
    return (Sentence(f"{text}: {', '.join(said)}." if said else f"{text}.", rests_on),)


def _likeness(rule: Rule, other: Rule, *, same: bool) -> str:
    """Return how another page compares: a page that nothing explains has a state, and no story."""
    if rule is UNEXPLAINED:
        if other is not UNEXPLAINED:
            return "by a story that is known"
        return "in the same state" if same else "in another"
    if same:
        return "by the same story"
    return "not explained" if other is UNEXPLAINED else "by another"


def _without_audit(story: Story) -> Story:
    return replace(story, finding=None, stopped=False)


def _unmentioned(sentences: tuple[Sentence, ...], evidence: Evidence) -> tuple[str, ...]:
    """Return reports about no page that no sentence mentions, by kind."""
    mentioned = {one.line for said in sentences for one in said.rests_on if one.what == "splat"}
    return unexplained_kinds(
        splat
        for splat in evidence.splats
        if splat.pfn is None and splat.line not in mentioned and about_pages(splat)
    )


def _deaths(evidence: Evidence) -> tuple[str, ...]:
    """Return the oopses and the like that the console has beside a page's story."""
    found = [reason_of(one) for one in evidence.splats if _is_bug(one) and one.reason]
    return tuple(f"the kernel reported {reason}" for reason in dict.fromkeys(found[:MOST_PROOF]))


def _other_counters(case: Case) -> tuple[str, ...]:
    """Return what else the audit finds wrong, of counters that the verdict is not about."""
    findings = case.evidence.audit.findings if case.evidence.audit else ()
    others = [one for one in findings if one.cls in COUNTERS and one not in case.story.counters]
    return tuple(f"{one.cls.value}: {one.note}" for one in others[:MOST_PROOF])


def _tale(case: Case, rule: Rule) -> tuple[object, ...]:
    """Return what two pages with the same story have in common."""
    if rule is not UNEXPLAINED:
        return (rule.name,)
    return (case.story.reason, case.story.raw_mapcount, case.story.refcount)


def _counted(pfn: int | None, others: list[Judged], total: int) -> tuple[str, ...]:
    """Return `3 more pages: mapping_leaked`, and how many of all pages have no verdict of their
    own."""
    unexplained = VerdictKind.UNEXPLAINED
    pages = {(rule.kind, case.story.pfn) for case, rule in others if rule.kind is not unexplained}
    counts = Counter(kind for kind, page in pages if page != pfn)
    ranks = {rule.kind: rank for rule, rank in reversed(RANK.items())}
    named = [(counts[kind], kind.value) for kind in sorted(counts, key=ranks.__getitem__)]
    if (rest := total - 1 - len({page for _, page in pages} - {pfn})) > 0:
        named.append((rest, "no verdict of its own" if rest == 1 else "no verdict of their own"))
    return tuple(f"{many} more page{'s' if many > 1 else ''}: {what}" for many, what in named)


def _without_page(evidence: Evidence) -> Verdict:
    """Return the verdict when no page or mm is known to be wrong: something else is, or nothing at
    all."""
    about = [splat for splat in evidence.splats if from_mm(splat)]
    if about:
        return _nameless(evidence, about)
    for kind, tell in ((Kind.BAD_TABLE, _bad_tables), (Kind.BAD_PTE, _bad_ptes)):
        if evidence.events and len(found := evidence.events.of_kind(kind)):
            return tell(evidence, len(found))
    reports = [splat for splat in evidence.splats if _is_bug(splat)]
    if reports or (evidence.stopped_inside and not _is_user_space_s_end(evidence)):
        return _unknown(evidence, reports)
    if evidence.ended == "hang":
        return _hung(evidence)
    return _clean(evidence) if would_show(evidence) else _blind(evidence)


def would_show(evidence: Evidence) -> bool:
    """Return whether a bug of any kind would be seen in this evidence: only then is nothing to be
    seen `clean`.

    An audit counts every page and mm.  A whole recording sees what goes wrong with a page,
    and not an mm's resident-set counters: those the console reports when the mm ends.  A
    console alone, of a boot that came to its own end, has a report for bugs of each kind,
    though not for each of them: the doubts say so.
    """
    audit = evidence.audit
    if audit is not None and audit.mms > 0 and audit.pages > 0:
        return True
    if "splat" not in evidence.parts or evidence.ended not in (*ENDS, LOG):
        return False
    if evidence.ended == LOG and evidence.boot is not None and not evidence.boot.lines:
        return False
    return evidence.complete or (evidence.events is None and evidence.ended in ("exit", LOG))


def _blind(evidence: Evidence) -> Verdict:
    """Return the verdict when nothing wrong is seen in evidence that could not have shown it."""
    rests = "the evidence is empty" if not evidence.parts else "it could not have shown every bug"
    text = f"Nothing wrong is seen in the evidence, but {rests}: this is not known to be clean."
    return Verdict(
        VerdictKind.UNEXPLAINED,
        (Sentence(text, whole(evidence) or (Reference("nothing"),)),),
        doubts=gaps(evidence),
        evidence=evidence.parts,
        rule=UNEXPLAINED.name,
    )


def _nameless(evidence: Evidence, splats: list[Splat]) -> Verdict:
    """Return reports about pages when none of them names a page that could have a story."""
    wrong = (splat for splat in splats if _says_what(splat) and splat.kind != "page_dump")
    first = next(wrong, None) or next(filter(_says_what, splats), splats[0])
    after = splats[splats.index(first) + 1 :]
    if first.kind == "bad_swap_entry" and after and after[0].kind == "bad_page_map":
        first = after[0]  # free_swap_and_cache() said why, print_bad_pte() where
    return Verdict(
        VerdictKind.UNEXPLAINED,
        tuple(Sentence(one, refer_all((first,))) for one in without_page(first)),
        comm=first.comm or first.process,
        pid=first.pid,
        doubts=gaps(evidence),
        evidence=evidence.parts,
        others=unexplained_kinds(splat for splat in splats if splat is not first),
        rule=UNEXPLAINED.name,
    )


def _says_what(splat: Splat) -> bool:
    """Return whether a report is more than a stack, of which the beginning is lost."""
    shown = (splat.reason, splat.pte, splat.mapcount, splat.rss_value)
    return any(value is not None for value in shown)


def _unknown(evidence: Evidence, splats: list[Splat]) -> Verdict:
    ends = {"bad_page": "bad_page()", "oops": "an oops", "bad_table": "pmd_clear_bad() or its like"}
    what = f"The run ended in {ends.get(evidence.ended, 'a panic')}"
    if splats:
        what = f"The kernel complained ({reason_of(splats[0])})"
    rests_on = refer_all(splats[:1]) or (Reference("end", evidence.ended),)
    return Verdict(
        VerdictKind.UNEXPLAINED,
        (Sentence(f"{what}, but no page is known to be wrong.", rests_on),),
        comm=splats[0].comm if splats else None,
        pid=splats[0].pid if splats else None,
        doubts=gaps(evidence),
        evidence=evidence.parts,
        rule=UNEXPLAINED.name,
    )


def _bad_tables(evidence: Evidence, many: int) -> Verdict:
    """Entries of page tables were cleared as bad: what they mapped, if anything, is lost."""
    entries = "an entry" if many == 1 else f"{many} entries"
    return _of_entries(
        evidence,
        Kind.BAD_TABLE,
        f"The kernel cleared {entries} of page tables above the PTEs as bad (pmd_clear_bad() and "
        "its like), first in {task}: it was written over, or was a live huge leaf; no page is "
        "known to be wrong.",
    )


def _bad_ptes(evidence: Evidence, many: int) -> Verdict:
    """PTEs were reported as bad that the kernel takes for no page's."""
    times = "" if many == 1 else f", {many} times"
    return _of_entries(
        evidence,
        Kind.BAD_PTE,
        f"The kernel reported a PTE as bad that it takes for no page's (print_bad_pte(){times}), "
        "first in {task}: it was written over, or is special where no special one may be; no page "
        "is known to be wrong.",
    )


def _of_entries(evidence: Evidence, kind: Kind, text: str) -> Verdict:
    """Return the verdict on entries of page tables by events that name no page."""
    assert evidence.events is not None
    first = int(np.flatnonzero(evidence.events.records["kind"] == kind)[0])
    task = moment(evidence.events, first)
    who = f"{task.comm or '?'}/{'?' if task.pid is None else task.pid}"
    return Verdict(
        VerdictKind.UNEXPLAINED,
        (Sentence(text.replace("{task}", who), refer_all((task,))),),
        comm=task.comm,
        pid=task.pid,
        doubts=gaps(evidence),
        evidence=evidence.parts,
        rule=UNEXPLAINED.name,
    )


def _hung(evidence: Evidence) -> Verdict:
    """Return the verdict on a guest that hung: not clean, even with no wrong page."""
    text = "The guest hung, and nothing in the evidence says why: no page is known to be wrong."
    return Verdict(
        VerdictKind.UNEXPLAINED,
        (Sentence(text, (Reference("end", evidence.ended),)),),
        doubts=gaps(evidence),
        evidence=evidence.parts,
        rule=UNEXPLAINED.name,
    )


def _clean(evidence: Evidence) -> Verdict:
    if evidence.ended == LOG:
        return _quiet(evidence)
    audit = evidence.audit
    seen = "No page was refused or freed while mapped"
    if audit:
        seen += (
            f", and in the dump the counters of {audit.pages} pages agree with {audit.ptes} PTEs "
            f"in {audit.mms} mms"
        )
    return Verdict(
        VerdictKind.CLEAN,
        (Sentence(f"{seen}.", whole(evidence)),),
        doubts=(*gaps(evidence), *_not_explained(evidence)),
        evidence=evidence.parts,
        rule="clean",
    )


def _not_explained(evidence: Evidence) -> tuple[str, ...]:
    return tuple(f"Not explained: {reason_of(one)}" for one in evidence.splats[:3])


def _quiet(evidence: Evidence) -> Verdict:
    """Return a log in which the kernel reports nothing about pages."""
    return Verdict(
        VerdictKind.CLEAN,
        (Sentence(_QUIET, whole(evidence)),),
        doubts=(*gaps(evidence), *_not_explained(evidence)),
        evidence=evidence.parts,
    )


def _is_bug(splat: Splat) -> bool:
    """Return whether a report is of a kernel failure: not of a warning, not of the end of user
    space."""
    reason = splat.reason or ""
    return (
        splat.kind == "other"
        and not reason.startswith("WARNING:")
        and not _INIT_ENDED.match(reason)
    )


def _is_user_space_s_end(evidence: Evidence) -> bool:
    return any(_INIT_ENDED.match(splat.reason or "") for splat in evidence.splats)
