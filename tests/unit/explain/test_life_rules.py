"""The rules that ask a page's life: each says yes to its own life, and to no other."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.explain.checked import explain
from tests.unit.explain.life_cases import (
    STATE,
    Kept,
    batched,
    case,
    copied,
    counted,
    forked,
    freed_twice,
    healthy,
    named,
    objected,
    overput,
    scribbled,
    stale,
    torn_down,
    twice,
)
from tests.unit.explain.rows import busy, finding
from tests.unit.life.builders import FLAGS, MAPPING, PFN
from tests.unit.life.lives import OTHER, Mappable, Mapped
from zaptrace.explain import Evidence, life_rules, verdict_table
from zaptrace.explain.predicates import Case
from zaptrace.explain.story import Story
from zaptrace.life.left_over import What
from zaptrace.model.findings import FindingClass
from zaptrace.model.splats import Frame, Splat
from zaptrace.model.verdict import Sentence, Verdict, VerdictKind

LIVES: dict[Callable[[Case], bool], Callable[[], Mapped]] = {
    life_rules.table_lost: torn_down,
    life_rules.scribbled: scribbled,
    life_rules.freed_twice: freed_twice,
    life_rules.mapped_without_rmap: forked,
    life_rules.mapping_leaked: copied,
    life_rules.rmap_without_pte: counted,
    life_rules.pte_left_behind: stale,
    life_rules.rmap_underflow: twice,
    life_rules.refcount_overput: overput,
    life_rules.freed_before_rmap_removed: batched,
}


@pytest.mark.parametrize("rule", LIVES, ids=lambda rule: rule.__name__)
def test_a_rule_says_yes_to_its_own_life_alone(rule: Callable[[Case], bool]) -> None:
    for other, made in LIVES.items():
        assert rule(case(Kept(made()))) == (rule is other), made.__name__
    assert not rule(case(Kept(healthy())))


def test_a_zap_s_own_put_of_a_page_that_a_batch_freed_is_not_the_one_too_many() -> None:
    """6.12, a batch of the LRU lists that takes no reference: the zap's was `freed_twice`."""
    page = Mappable()
    page.refs(1, 1, 0x21)
    page.maps(1, 2, 0x21)
    page.sets(0x30, 0x21)
    page.refs(-1, 4, 0x24)
    page.zap()
    batch = case(Kept(page))
    assert life_rules.refcount_overput(batch) and not life_rules.freed_twice(batch)
    assert batch.account is not None
    (fact,) = (one for one in batch.account.facts if one.what is What.PUT_WITHOUT_GET)
    assert [one.author.source for one in fact.among] == ["mm/swap.c:40"]


def test_what_is_put_of_a_free_page_follows_from_the_put_that_freed_it() -> None:
    """6.12, tee() that takes no reference: the zap drops its own, and the page has none left."""
    page = overput()
    page.zap()
    last = case(Kept(page))
    assert life_rules.refcount_overput(last)
    assert not life_rules.freed_twice(last)


def test_every_rule_has_a_life_and_a_row() -> None:
    functions = {one for _, one in inspect.getmembers(life_rules, inspect.isfunction)}
    own = {one for one in functions if not one.__name__.startswith("_")}
    own = {one for one in own if one.__module__ == life_rules.__name__}
    assert own == LIVES.keys()
    assert own <= {row.applies for row in verdict_table.RULES}


ABSENT = [
    one
    for one in LIVES
    if one not in (life_rules.scribbled, life_rules.freed_twice, life_rules.table_lost)
]


@pytest.mark.parametrize("rule", ABSENT, ids=lambda rule: rule.__name__)
def test_in_a_recording_that_is_not_whole_what_is_missing_proves_nothing(
    rule: Callable[[Case], bool],
) -> None:
    assert not rule(case(Kept(LIVES[rule](), whole=False)))


@pytest.mark.parametrize("rule", [life_rules.mapping_leaked, life_rules.pte_left_behind])
def test_a_call_that_may_be_at_work_may_still_make_it_good(rule: Callable[[Case], bool]) -> None:
    assert not rule(case(Kept(LIVES[rule](), over=False)))


def test_a_call_is_over_when_its_task_has_made_another() -> None:
    """Of a guest that was busy for longer than its console may be silent."""
    page = copied()
    page.refs(1, 7, 0x23)
    assert life_rules.mapping_leaked(case(Kept(page, over=False)))


def test_a_call_is_over_when_its_task_has_stored_to_another_page_since() -> None:
    page = copied()
    clear = next(one for one in named(page).writes if one.role == "PTE cleared")
    fault = clear.write.root, *reversed(clear.write.stack)
    for number, calls, over in (
        (1 << 20, (fault[0], 0x20, 0x27), True),  # of an exit
        (1 << 20, fault, False),  # perhaps the same page fault
        (0, (fault[0], 0x20, 0x27), False),  # before
    ):
        account = Kept(page, over=False).account(PFN, None)
        assert account is not None
        account = replace(account, last={fault[0]: (number, calls)})
        one = Case(Story(PFN), (), Evidence(None), account)
        assert life_rules.mapping_leaked(one) is over


SAID = {
    scribbled: ("scribbled", "sys_uname() at kernel/sys.c:400 stored into its struct page: _map"),
    freed_twice: ("freed_twice", "drv_put() at drivers/drv.c:81 dropped a reference to it when"),
    forked: ("mapped_without_rmap", "copy_present_pte() at mm/memory.c:220 set a PTE that maps it"),
    copied: ("mapping_leaked", "wp_page_copy() at mm/memory.c:250 cleared a PTE of it, and did"),
    counted: ("mapping_leaked", "copy_page_range() at mm/memory.c:130 added an rmap, and set no"),
    stale: ("pte_left_behind", "zap_pte_range() at mm/memory.c:105 removed its rmap, and did not"),
    twice: ("rmap_underflow", "zap_pte_range() at mm/memory.c:105 removed its rmap when no PTE"),
    overput: ("refcount_overput", "drv_put() at drivers/drv.c:81 dropped a reference that had"),
    batched: ("freed_before_rmap_removed", "zap_pte_range() at mm/memory.c:105 removed the rmap"),
}


@pytest.mark.parametrize(("made", "kind", "words"), [(one, *said) for one, said in SAID.items()])
def test_the_verdict_names_who_did_it_and_rests_on_the_stores(
    made: Callable[[], Mapped], kind: str, words: str
) -> None:
    evidence = Evidence(None, [STATE], console=True, lives=Kept(made()))
    verdict = explain(evidence)
    assert verdict.kind is VerdictKind(kind)
    assert words in verdict.summary and verdict.readings == ()
    by_life = [one for said in verdict.sentences for one in said.rests_on if one.what == "life"]
    assert by_life and {one.pfn for one in by_life} == {PFN}
    assert [one.role for one in verdict.sites][-1] == "culprit"
    assert "life" in verdict.evidence


def test_by_the_audit_alone_the_life_says_the_rest() -> None:
    lost = Mapped()
    lost.clears(0x40, 0x23)
    one = replace(finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 1), pfn=PFN)
    evidence = Evidence(None, audit=busy(one), lives=Kept(lost))
    verdict = explain(evidence)
    assert verdict.kind is VerdictKind.MAPPING_LEAKED and verdict.readings == ()
    assert "change_pte_range() at mm/mprotect.c:240 cleared a PTE of it" in verdict.summary
    assert "the evidence does not say" not in verdict.summary


@pytest.mark.parametrize("flipped", [1, 4, -5], ids=["to what it was", "above", "below"])
def test_a_counter_that_no_store_changed_blames_nobody(flipped: int) -> None:
    """Memory of a running 6.12 changed from outside: the removal was said to add an rmap."""
    page = Mapped()
    page.mapcount ^= flipped
    page.zap()
    verdict = explain(Evidence(None, [STATE], console=True, lives=Kept(page)))
    assert verdict.kind is VerdictKind.SCRIBBLED
    assert "its mapcount had changed when zap_pte_range() at mm/memory.c:105" in verdict.summary
    assert "no recorded store had done that: bits of memory flipped" in verdict.summary
    assert "culprit" not in [one.role for one in verdict.sites]
    assert "rmap" not in verdict.summary.partition("By the recorded life")[2]
    assert not life_rules.scribbled(case(Kept(page, whole=False)))


def test_what_was_done_twice_is_said_once() -> None:
    """A migration that keeps the rmap fails, and is tried ten times: migrate_pages_batch()."""
    copied_twice = Mapped()
    for slot in (OTHER, OTHER + 8):
        copied_twice.refs(1, 7, 0x25)
        copied_twice.sets(0x33, 0x25, slot=slot)
    one = replace(finding(FindingClass.MORE_PTES_THAN_MAPCOUNT, 3, 1, 3), pfn=PFN)
    summary = explain(Evidence(None, audit=busy(one), lives=Kept(copied_twice))).summary
    assert summary.count("added no rmap for that") == 1
    assert "and added no rmap for that (2 times)." in summary


def test_who_set_the_flag_that_a_page_was_refused_for_is_named() -> None:
    page = Mapped()
    page.store(FLAGS, 0, 8, pc=1, stack=page.stack(0x20, 0x21))
    page.store(FLAGS, 1, 8, pc=8, stack=page.stack(0x20, 0x23))
    page.zap()
    state = replace(STATE, reason="PAGE_FLAGS_CHECK_AT_FREE flag(s) set", flags=("locked",))
    state = replace(state, mapcount=0)
    verdict = explain(Evidence(None, [state], console=True, lives=Kept(page)))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert "drv_put() at drivers/drv.c:81 set flag locked" in verdict.summary


def test_a_mapping_without_a_reference_names_who_prepared_the_page_in_that_call() -> None:
    page = Mapped()
    page.zap()
    page.refs(1, 1, 0x23)
    page.store(MAPPING, 0x1234, 8, pc=17, stack=page.stack(0x20, 0x21))
    page.maps(1, 2, 0x21)
    page.sets(0x30, 0x21)
    page.zap()
    state = replace(STATE, reason="non-NULL mapping", mapcount=0)
    evidence = Evidence(None, [state], console=True, lives=Kept(page))
    verdict = explain(evidence)
    assert verdict.kind is VerdictKind.REFCOUNT_OVERPUT
    assert "set a PTE that maps it, and took no reference for that. In the same call, before " in (
        verdict.summary
    )
    assert "perf_mmap_fault() at kernel/events/core.c:16 stored to its struct" in verdict.summary
    assert objected(verdict, evidence) == ""


PUT = replace(
    STATE,
    kind="vm_bug_on",
    mapcount=0,
    reason="kernel BUG at include/linux/mm.h:780! (VM_BUG_ON_PAGE(page_ref_count(page) == 0))",
)


def test_a_put_that_the_kernel_refused_is_told_with_who_dropped_the_last_reference() -> None:
    page = Mapped()
    page.refs(1, 7, 0x2A)
    page.zap()
    page.refs(-1, 8, 0x23)
    evidence = Evidence(None, [PUT], console=True, lives=Kept(page))
    verdict = explain(evidence)
    assert (verdict.kind, verdict.rule) == (VerdictKind.FREED_TWICE, "put_when_free")
    assert "drv_put() at drivers/drv.c:81 had dropped the last one" in verdict.summary
    assert objected(verdict, evidence) == ""
    torn = explain(Evidence(None, [PUT], console=True, lives=Kept(page, whole=False)))
    assert torn.kind is VerdictKind.FREED_TWICE and "had dropped" not in torn.summary
    got = replace(PUT, reason="VM_BUG_ON_PAGE(page_ref_count(page) != 1)")
    assert explain(Evidence(None, [got], console=True)).kind is VerdictKind.UNEXPLAINED


def test_a_sentence_on_a_store_that_is_not_there_or_of_another_is_objected_to() -> None:
    evidence = Evidence(None, [STATE], console=True, lives=Kept(copied()))
    verdict = explain(evidence)
    last = verdict.sentences[-1]
    (rest,) = last.rests_on

    def instead(text: str = last.text, **other: Any) -> Verdict:
        changed = Sentence(text, (replace(rest, **other),))
        return replace(verdict, sentences=(changed,))

    assert objected(instead(), evidence) == ""
    assert "no store 9999" in objected(instead(index=9999), evidence)
    assert "has cpu 0, not 7" in objected(instead(cpu=7), evidence)
    assert "has kind PTE cleared" in objected(instead(kind="mapped"), evidence)
    wrong = last.text.replace("wp_page_copy", "do_fork")
    assert "made by do_fork() at mm/memory.c:250" in objected(instead(wrong), evidence)


def test_a_reference_without_a_holder_is_reported_by_who_took_it() -> None:
    page = Mapped()
    page.refs(1, 7, 0x23)
    page.zap()
    one = replace(finding(FindingClass.REFCOUNT_LEAKED, 0, 0, 1), pfn=PFN)
    verdict = explain(Evidence(None, audit=busy(one), lives=Kept(page)))
    assert verdict.kind is VerdictKind.REFCOUNT_LEAKED
    assert "the reference that drv_get() at drivers/drv.c:71 took was never dropped" in (
        verdict.summary
    )
    held = replace(finding(FindingClass.MORE_MAPCOUNT_THAN_PTES, 0, 1, 1), pfn=PFN)
    other = explain(Evidence(None, audit=busy(held), lives=Kept(page)))
    assert "never dropped" not in other.summary


IN_USE = Splat("bad_page_state", pfn=PFN, mapcount=1, refcount=1, line=3, flags=("lru",))
IN_USE = replace(IN_USE, reason="PAGE_FLAGS_CHECK_AT_PREP flag(s) set")
IN_USE = replace(IN_USE, trace=(Frame("check_new_page_bad"), Frame("get_page_from_freelist")))


def test_a_page_in_use_that_the_allocator_finds_on_its_lists_was_not_freed() -> None:
    """6.12, a flipped `lru` flag or list pointer: `set flag lru, which was not cleared before the
    free`, of a page that is mapped and was never freed."""
    page = Mapped()
    page.store(FLAGS, 0, 8, pc=1, stack=page.stack(0x20, 0x21))
    page.store(FLAGS, 32, 8, pc=4, stack=page.stack(0x20, 0x24))
    verdict = explain(evidence := Evidence(None, [IN_USE], console=True, lives=Kept(page)))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert "before the free" not in verdict.summary
    assert f"By the recorded life of pfn {PFN:#x}, it was not freed since" in verdict.summary
    assert len(verdict.readings) == 1 and "a list that leads through" in verdict.readings[0]
    assert objected(verdict, evidence) == ""
    alone = explain(Evidence(None, [IN_USE], console=True))
    assert len(alone.readings) == 3
    assert "(refcount 1, mapcount 1)" in alone.readings[0]
    page.zap()
    freed = explain(Evidence(None, [IN_USE], console=True, lives=Kept(page)))
    assert "which was not cleared before the free" in freed.summary
