"""The verdicts, a row each: when it applies, and what every view says of it.

The first row that applies is the verdict of a story.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from zaptrace.explain import life_rules, life_wording, rules, wording, wording_counters
from zaptrace.explain.predicates import Case
from zaptrace.model.verdict import Sentence, Verdict, VerdictKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One verdict; a row that lacks a field cannot be imported.

    Attributes:
        name: of the row; several rows may have one kind.
        applies: whether it is the verdict of a story; None where no story is asked.
        summary: its sentences.
        subject: words for the subject of a mail.
        headline: a few words for a title.
        cleared_in_zap: the page's PTE went in the zap of its story.
    """

    name: str
    kind: VerdictKind
    applies: Callable[[Case], bool] | None
    summary: Callable[[Case], Iterator[Sentence]]
    subject: str
    headline: str
    cleared_in_zap: bool


RULES = (
    Rule(
        name="zero_page_freed",
        kind=VerdictKind.REFCOUNT_OVERPUT,
        applies=rules.zero_page_freed,
        summary=wording_counters.zero_page_freed,
        subject="the shared zero page was freed",
        headline="zero page freed while it is mapped",
        cleared_in_zap=False,
    ),
    Rule(
        name="zero_page_unmapped",
        kind=VerdictKind.RMAP_UNDERFLOW,
        applies=rules.zero_page_unmapped,
        summary=wording_counters.zero_page_unmapped,
        subject="rmap of the zero page removed, never added",
        headline="rmap removed that was never added",
        cleared_in_zap=False,
    ),
    Rule(
        name="table_lost",
        kind=VerdictKind.REFCOUNT_LEAKED,
        applies=life_rules.table_lost,
        summary=life_wording.table_lost,
        subject="page table never freed",
        headline="page table leaked",
        cleared_in_zap=False,
    ),
    Rule(
        name="scribbled",
        kind=VerdictKind.SCRIBBLED,
        applies=life_rules.scribbled,
        summary=wording.found_wrong,
        subject="struct page written over",
        headline="struct page written over",
        cleared_in_zap=False,
    ),
    Rule(
        name="freed_twice",
        kind=VerdictKind.FREED_TWICE,
        applies=life_rules.freed_twice,
        summary=wording.found_wrong,
        subject="page freed twice",
        headline="freed twice",
        cleared_in_zap=False,
    ),
    Rule(
        name="put_when_free",
        kind=VerdictKind.FREED_TWICE,
        applies=rules.put_when_free,
        summary=wording_counters.put_when_free,
        subject="reference dropped to a page without one",
        headline="put when its last reference had gone",
        cleared_in_zap=False,
    ),
    Rule(
        name="mapped_without_rmap",
        kind=VerdictKind.MAPPED_WITHOUT_RMAP,
        applies=life_rules.mapped_without_rmap,
        summary=wording.found_wrong,
        subject="mapped without an rmap",
        headline="mapped, and no rmap added",
        cleared_in_zap=False,
    ),
    Rule(
        name="overput",
        kind=VerdictKind.REFCOUNT_OVERPUT,
        applies=rules.refcount_overput,
        summary=wording.overput,
        subject="page freed while PTEs still map it",
        headline="reference dropped once too often",
        cleared_in_zap=False,
    ),
    Rule(
        name="freed_early",
        kind=VerdictKind.FREED_BEFORE_RMAP_REMOVED,
        applies=rules.freed_before_rmap_removed,
        summary=wording.freed_early,
        subject="page freed before its rmap was removed",
        headline="freed before its rmap was removed",
        cleared_in_zap=True,
    ),
    Rule(
        name="left_behind",
        kind=VerdictKind.PTE_LEFT_BEHIND,
        applies=rules.pte_left_behind,
        summary=wording.left_behind,
        subject="a PTE maps the page that nothing counts",
        headline="PTE left behind",
        cleared_in_zap=False,
    ),
    Rule(
        name="leaked",
        kind=VerdictKind.MAPPING_LEAKED,
        applies=rules.zapped_and_leaked,
        summary=wording.zapped_without_removal,
        subject="mapping gone, but its rmap never removed",
        headline="mapping leaked: rmap never removed",
        cleared_in_zap=True,
    ),
    Rule(
        name="leaked_by_life",
        kind=VerdictKind.MAPPING_LEAKED,
        applies=life_rules.mapping_leaked,
        summary=wording.found_wrong,
        subject="unmapped, but its rmap not removed",
        headline="mapping leaked: rmap not removed",
        cleared_in_zap=False,
    ),
    Rule(
        name="added_without_pte",
        kind=VerdictKind.MAPPING_LEAKED,
        applies=life_rules.rmap_without_pte,
        summary=wording.found_wrong,
        subject="rmap added, but no PTE set for it",
        headline="mapping counted, and no PTE set",
        cleared_in_zap=False,
    ),
    Rule(
        name="left_behind_by_life",
        kind=VerdictKind.PTE_LEFT_BEHIND,
        applies=life_rules.pte_left_behind,
        summary=wording.found_wrong,
        subject="rmap removed, but the page not unmapped",
        headline="PTE left behind",
        cleared_in_zap=False,
    ),
    Rule(
        name="underflow_by_life",
        kind=VerdictKind.RMAP_UNDERFLOW,
        applies=life_rules.rmap_underflow,
        summary=wording.found_wrong,
        subject="rmap removed more often than added",
        headline="rmap removed more often than added",
        cleared_in_zap=False,
    ),
    Rule(
        name="overput_by_life",
        kind=VerdictKind.REFCOUNT_OVERPUT,
        applies=life_rules.refcount_overput,
        summary=wording.found_wrong,
        subject="reference dropped that was not taken",
        headline="reference dropped once too often",
        cleared_in_zap=False,
    ),
    Rule(
        name="freed_early_by_life",
        kind=VerdictKind.FREED_BEFORE_RMAP_REMOVED,
        applies=life_rules.freed_before_rmap_removed,
        summary=wording.found_wrong,
        subject="page freed before its rmap was removed",
        headline="freed before its rmap was removed",
        cleared_in_zap=False,
    ),
    Rule(
        name="counted_above",
        kind=VerdictKind.MAPPING_LEAKED,
        applies=rules.counted_once_too_often,
        summary=wording.more_mapcount_than_ptes,
        subject="mapcount one above the PTEs that map the page",
        headline="mapping counted that no PTE is left of",
        cleared_in_zap=False,
    ),
    Rule(
        name="removed_twice",
        kind=VerdictKind.RMAP_UNDERFLOW,
        applies=rules.rmap_underflow,
        summary=wording.removed_twice,
        subject="rmap removed more often than added",
        headline="rmap removed more often than added",
        cleared_in_zap=False,
    ),
    Rule(
        name="rmap_elsewhere",
        kind=VerdictKind.WRONG_RMAP,
        applies=rules.wrong_rmap,
        summary=wording_counters.wrong_rmap,
        subject="anonymous page's rmap misses its PTE",
        headline="rmap leads elsewhere than its PTE is",
        cleared_in_zap=False,
    ),
    Rule(
        name="references",
        kind=VerdictKind.REFCOUNT_LEAKED,
        applies=rules.refcount_leaked,
        summary=wording_counters.refcount_leaked,
        subject="page with references that nothing holds",
        headline="reference leaked",
        cleared_in_zap=False,
    ),
    Rule(
        name="rss",
        kind=VerdictKind.RSS_MISMATCH,
        applies=rules.rss_mismatch,
        summary=wording.rss,
        subject="rss counters disagree with what is mapped",
        headline="rss counter does not match",
        cleared_in_zap=False,
    ),
    Rule(
        name="locked_vm",
        kind=VerdictKind.LOCKED_VM_MISMATCH,
        applies=rules.locked_vm_mismatch,
        summary=wording_counters.locked_vm,
        subject="locked_vm disagrees with what is locked",
        headline="locked_vm does not match",
        cleared_in_zap=False,
    ),
    Rule(
        name="hugetlb_pool",
        kind=VerdictKind.HUGETLB_POOL_MISMATCH,
        applies=rules.hugetlb_pool_mismatch,
        summary=wording_counters.hugetlb_pool,
        subject="a pool of huge pages counts wrongly",
        headline="huge page pool does not match",
        cleared_in_zap=False,
    ),
    Rule(
        name="mm_counters",
        kind=VerdictKind.UNEXPLAINED,
        applies=rules.mm_counter_mismatch,
        summary=wording_counters.mm_counters,
        subject="an mm does not count what it has",
        headline="mm counter does not match",
        cleared_in_zap=False,
    ),
)
"""Of several stories without a stop the first kind is the worst."""

UNEXPLAINED = Rule(
    name="unexplained",
    kind=VerdictKind.UNEXPLAINED,
    applies=None,
    summary=wording.unexplained,
    subject="something went wrong that is not explained",
    headline="unexplained",
    cleared_in_zap=False,
)
CLEAN = Rule(
    name="clean",
    kind=VerdictKind.CLEAN,
    applies=None,
    summary=lambda _case: iter(()),
    subject="no bad page found",
    headline="clean",
    cleared_in_zap=False,
)

RANK = {rule: rank for rank, rule in enumerate((*RULES, UNEXPLAINED))}
"""Worst first."""


def rule_of(case: Case) -> Rule:
    """Return the row of a story."""
    return next((rule for rule in RULES if rule.applies and rule.applies(case)), UNEXPLAINED)


_UNNAMED = {
    VerdictKind.REFCOUNT_OVERPUT: "overput",
    VerdictKind.RMAP_UNDERFLOW: "removed_twice",
    VerdictKind.UNEXPLAINED: "unexplained",
}
"""The row of a verdict that names none (an old run's), where the first of its kind is special."""


def row_of(verdict: Verdict) -> Rule:
    """Return the row of a verdict; one that names none has the usual one of its kind."""
    mine = [rule for rule in (*RULES, UNEXPLAINED, CLEAN) if rule.kind is verdict.kind]
    names = (verdict.rule, _UNNAMED.get(verdict.kind))
    return next((rule for name in names for rule in mine if rule.name == name), mine[0])
