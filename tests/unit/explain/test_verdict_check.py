"""The check of a verdict's sentences: it objects to a rule that is wrong, in every way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

import zaptrace.explain
from tests.unit.explain.builders import AGAIN, STATE, in_zap
from tests.unit.explain.kernel import events_of
from tests.unit.explain.rows import MINE, MM, PFN, busy, finding, freed, refused, removed, zap
from tests.verdict_check import objections
from zaptrace.explain import Evidence, verdict_table
from zaptrace.explain.predicates import Case
from zaptrace.explain.rests_on import refer, whole
from zaptrace.model.findings import AuditResult, FindingClass
from zaptrace.model.verdict import Reference, Sentence

MORE = FindingClass.MORE_PTES_THAN_MAPCOUNT
OTHERS = {"pid": 86, "tgid": 86, "comm": b"poweroff"}
ROWS = [zap(1000), freed(3000), refused(4000), removed(6500, raw=-1), zap(9000, **OTHERS)]
RUN = Evidence(events_of(ROWS), [STATE], ended="exit", console=True)


def wrong(summary: Callable[[Case], Iterator[Sentence]], monkeypatch: Any) -> list[str]:
    """Objections to a verdict whose first rule says whatever it likes."""
    rule = replace(verdict_table.RULES[0], applies=lambda _: True, summary=summary)
    monkeypatch.setattr(verdict_table, "RULES", (rule, *verdict_table.RULES))
    monkeypatch.setattr(verdict_table, "RANK", {**verdict_table.RANK, rule: 0})
    return objections(zaptrace.explain.explain(RUN), RUN)


@pytest.mark.parametrize(
    ("sentence", "objection"),
    [
        (lambda case: Sentence("The page was freed."), "it rests on nothing"),
        (lambda case: Sentence("pfn 0xa81 was freed.", refer(case.story.freed)), "about pfn 0xa80"),
        (lambda case: Sentence("pfn 0xa81 was freed.", refer(case.story.state)), "splat is about"),
        (lambda case: Sentence("sh/30 freed it.", refer(case.story.freed)), "sh/30 is in nothing"),
        (
            lambda case: Sentence("It had mapcount 9.", refer(case.story.freed)),
            "no event, splat or finding has a mapcount of 9",
        ),
        (
            lambda case: Sentence("It had refcount 9.", refer(case.story.freed)),
            "no event, splat or finding has a refcount of 9",
        ),
        (
            lambda case: Sentence("It was freed at 0.000004 s.", refer(case.story.freed)),
            "nothing that it rests on happened at 0.000004 s",
        ),
        (
            lambda case: Sentence(
                "The mapcount went from 0 to 9.", refer(case.story.freed, case.story.bad)
            ),
            "no event, splat or finding has a mapcount of 9",
        ),
        (
            lambda case: Sentence("It was freed.", (Reference("event", "zap", index=1),)),
            "is a page_free, not a zap",
        ),
        (
            lambda case: Sentence(
                "It was freed.", (replace(refer(case.story.freed)[0], time_ns=4000),)
            ),
            "has time_ns 3000, not 4000",
        ),
        (
            lambda case: Sentence("It was freed.", (Reference("event", "zap", index=99),)),
            "there is no event 99",
        ),
        (
            lambda case: Sentence("It was zapped.", _zaps_of_two(case)),
            "mm 0x80000400 is another process's",
        ),
        (lambda case: Sentence("All is well.", (Reference("audit"),)), "there is no audit"),
        (
            lambda case: Sentence("It was mapped.", (Reference("finding", "in_flight", pfn=PFN),)),
            "no finding in_flight",
        ),
    ],
)
def test_a_wrong_rule_is_objected_to(
    sentence: Callable[[Case], Sentence], objection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = wrong(lambda case: iter((sentence(case),)), monkeypatch)
    assert any(objection in one for one in found), found


def _zaps_of_two(case: Case) -> tuple[Reference, ...]:
    events = case.evidence.events
    assert events is not None
    from zaptrace.explain.event_view import moment

    return refer(moment(events, 0), moment(events, 4))


def test_a_right_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def right(case: Case) -> Iterator[Sentence]:
        told = "init/30 freed pfn 0xa80 (mapcount 1, refcount 0) at 0.000003 s."
        yield Sentence(told, refer(case.story.freed))
        yield Sentence("Nothing else was recorded.", whole(case.evidence, "recording"))

    assert wrong(right, monkeypatch) == []


def test_an_owner_in_the_dump_is_not_the_process_that_had_its_mm_before() -> None:
    """sync/85 exits, poweroff/86 gets its mm_struct: two mms of one address."""
    owner = replace(MINE, pid=86, comm="poweroff")
    found = busy(finding(MORE, 1, 0, 1, owner))
    evidence = Evidence(events_of(AGAIN[:2]), (), found, in_zap)
    verdict = zaptrace.explain.explain(evidence)
    assert objections(verdict, evidence) == []
    assert "init/30" not in verdict.summary and verdict.pid == 86
    claim = Sentence(
        "init/30 zapped pfn 0xa80; its PTE is still there.",
        (*refer(*verdict.proof), Reference("event", "zap", 0, 1000, 1, mm=MM)),
    )
    (objection,) = objections(replace(verdict, sentences=(claim,)), evidence)
    assert "has another lifetime in the dump than at event 0" in objection


def test_who_holds_a_page_may_be_named_by_the_audit_alone() -> None:
    note = "refcount 3: 1 of PTEs (init/28), 1 of pipe (sh/31); 1 unexplained"
    leaked = replace(finding(FindingClass.REFCOUNT_LEAKED, 1, 1, 3), note=note)
    audit = AuditResult("6.1", 10, 1, 3, 0.1, (leaked,))
    evidence = replace(RUN, audit=audit)
    verdict = zaptrace.explain.explain(evidence)
    for said, objected in ((note, 0), (f"{note}, put by cat/32", 1)):
        claim = Sentence(f"pfn {PFN:#x} has {said}.", refer(leaked))
        assert len(objections(replace(verdict, sentences=(claim,), order=()), evidence)) == objected
