"""Each rule alone: the stories to which it says yes, and those next to them to which it says no."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.explain.audits import audit, resolve
from tests.unit.explain.builders import (
    AGAIN,
    BELOW,
    FREED,
    LEAKED,
    MAP,
    MORE,
    STATE,
    TWICE,
    UNSEEN,
    copied,
    in_gather,
    in_zap,
    second_look,
)
from tests.unit.explain.kernel import (
    RETURN_INTO_FREE,
    RETURN_INTO_WP,
    RETURN_INTO_ZAP,
    events_of,
)
from tests.unit.explain.rows import (
    FREE,
    MINE,
    MM,
    OTHER,
    STOPPED,
    busy,
    finding,
    freed,
    refused,
    removed,
    zap,
)
from zaptrace.explain import Evidence, life_rules, rules, verdict_table
from zaptrace.explain.predicates import Case
from zaptrace.explain.sites import code_sites
from zaptrace.explain.stories import stories
from zaptrace.model.findings import AuditResult, Finding, FindingClass
from zaptrace.model.splats import Frame, Splat
from zaptrace.model.verdict import CodeSite, VerdictKind

NEVER = FindingClass.MORE_MAPCOUNT_THAN_PTES
FOUNDING = [zap(1000), freed(3000), refused(4000), removed(6500, raw=-1)]
AT_STOP = finding(BELOW, 0, 1, 0)
FOLIO = {"pfn": 0xA80, "order": 9, "kind": "anon", "free": False}
BEHIND = replace(finding(FREED, 1, 0, 0, OTHER), folio=FREE)
LOCKED = Finding(
    FindingClass.LOCKED_VM_MISMATCH,
    *(None, None, None, None),
    mappings=(OTHER,),
    note="locked_vm is 6 pages, its VM_LOCKED VMAs have 2",
)
POOL = Finding(
    FindingClass.HUGETLB_POOL_MISMATCH,
    *(None, None, None, None),
    note="hugepages-2048kB: resv_huge_pages, reserved: 3 recorded, 2 found",
)
COUNTED = Finding(
    FindingClass.MM_COUNTER_MISMATCH,
    *(None, None, None, None),
    mappings=(OTHER,),
    note="pgtables_bytes is 45056, the page tables that it leads to have 40960",
)
ZERO = {"pfn": 0xA80, "order": 0, "kind": "zero page", "free": False}
BELOW_ZERO = [removed(1000, raw=-1), freed(2000, raw=-2), {**refused(0, raw=-2), **STOPPED}]
ZERO_BELOW = replace(finding(FindingClass.MAPCOUNT_UNDERFLOW, 0, -1, 0), folio=ZERO)
ZERO_FREED = replace(
    finding(FREED, 1, 0, 0, OTHER), mapcount=None, folio={**ZERO, "kind": "huge zero page"}
)
RSS = finding(FindingClass.RSS_MISMATCH, 0, 0, 0)


def of(evidence: Evidence) -> Case:
    """The first story in the evidence."""
    story = next(story for tier in stories(evidence) for story in tier)
    return Case(story, code_sites(story, evidence), evidence)


def case(rows: list[dict[str, Any]], ended: str = "exit", **more: Any) -> Case:
    more.setdefault("resolve", resolve)
    return of(Evidence(events_of(rows, lost=more.pop("lost", 0)), ended=ended, **more))


def copied_on_write(address: int) -> CodeSite | None:
    """The stack of a copy-on-write that drops the old page."""
    named = {RETURN_INTO_FREE: "free_unref_page", RETURN_INTO_ZAP: "handle_mm_fault"}
    return CodeSite(named.get(address, "wp_page_copy"), 0x10, None, (), None, address)


PUT = Splat(
    "vm_bug_on",
    pfn=0x5DA,
    refcount=0,
    mapcount=0,
    comm="victim",
    pid=41,
    reason="kernel BUG at include/linux/mm.h:780! (VM_BUG_ON_PAGE(page_ref_count(page) == 0))",
)


OLD_PUT = "kernel BUG at include/linux/mm.h:342! (VM_BUG_ON_PAGE(atomic_read(&page->_count) == 0))"


def printed(*splats: Splat) -> Case:
    return of(Evidence(None, splats))


def found(audited: AuditResult, ended: str = "exit") -> Case:
    return of(Evidence(None, (), audited, ended=ended))


def stopped(rows: list[dict[str, Any]], ptes: int, *owners: Any) -> Case:
    """Stopped in bad_page(), with so many PTEs counted, and looked at again afterwards."""
    one = finding(BELOW if not ptes else FREED, ptes, 1, 0, *owners)
    return of(Evidence(second_look(rows), (), busy(one, MM), resolve, "bad_page"))


BY_EVENTS = case(FOUNDING)
TOGETHER = busy(replace(finding(BELOW, 1, 1, 510, OTHER), folio=FOLIO))
LEAKED_TOO = replace(finding(NEVER, 0, 1, 510), pfn=0xA85, folio=FOLIO)

RANGE = (("unmap_page_range", 0x18), ("unmap_vmas", 0x8))

Table = tuple[tuple[tuple[Any, ...], Any], ...]
RULES: dict[Callable[..., Any], Table] = {
    rules.removed_late: (
        ((BY_EVENTS,), True),
        ((stopped([zap(1), removed(2, raw=1), *FOUNDING[1:]], 0),), True),
        ((case([zap(1), removed(2, raw=1), *FOUNDING[1:]]),), False),  # unmapped in time as well
        ((case(LEAKED),), False),
        ((printed(STATE, MAP),), False),
    ),
    rules.removed_in_a_zap: (
        ((BY_EVENTS,), True),
        ((case(FOUNDING, resolve=lambda _: None),), True),
        ((case([*FOUNDING[:3], removed(6500, caller=RETURN_INTO_WP)], resolve=copied),), False),
        ((case([*UNSEEN, removed(6500, refcount=0)], resolve=lambda _: None),), True),
        ((case([*UNSEEN, removed(6500)], resolve=lambda _: None),), False),
        ((case([*UNSEEN, removed(6500)]),), True),
        ((case([*UNSEEN, removed(6500)], lost=1),), False),
        ((case(LEAKED),), False),
    ),
    rules.reported_twice_in_one_zap: (
        ((printed(STATE, MAP),), True),
        ((printed(replace(STATE, reason="page still charged to cgroup"), MAP),), False),
        ((printed(replace(STATE, trace=()), MAP),), False),
        ((printed(STATE, replace(MAP, mapcount=1)),), False),
        ((printed(STATE),), False),
    ),
    rules.in_one_zap: (
        ((STATE, MAP), True),
        ((STATE, replace(MAP, trace=MAP.trace[:2])), True),  # cut after the zap
        ((STATE, replace(MAP, trace=MAP.trace[:1])), False),
        ((STATE, replace(MAP, trace=(*MAP.trace[:2], Frame("unmap_vmas", 0x9, 0x20)))), False),
        ((STATE, replace(MAP, trace=(*MAP.trace[:1], Frame("zap_huge_pmd", 1, 9)))), False),
    ),
    rules._callers_of_zap: (
        ((MAP,), RANGE),
        ((replace(MAP, trace=(Frame("zap_pte_range.isra.0", 1, 9), *MAP.trace[1:])),), RANGE),
        ((replace(MAP, trace=(Frame("zap_pte_range", 1, 9),)),), (("zap_pte_range", 1),)),
        ((replace(MAP, trace=()),), ()),
    ),
    rules.reported_in_a_row: (
        (([STATE, MAP], STATE, MAP), True),
        (([MAP, STATE], STATE, MAP), False),
        (([STATE, replace(STATE, pfn=7), MAP], STATE, MAP), False),
    ),
    rules.thread_of: (
        ((STATE,), (30, "init")),
        ((replace(STATE, comm=None, process="mount"),), (30, "mount")),
    ),
    rules.freed_before_rmap_removed: (
        ((BY_EVENTS,), True),
        ((printed(STATE, MAP),), True),
        ((stopped(FOUNDING, 1, OTHER),), False),  # a PTE still maps it
        ((case(LEAKED),), False),
    ),
    rules.pte_went_in_the_zap: (
        ((stopped(LEAKED, 0),), True),
        ((stopped(LEAKED, 1, OTHER),), False),
        ((case(LEAKED),), True),
        ((case([*LEAKED[:2], freed(3000, order=9), *LEAKED[3:]]),), False),
        ((case([LEAKED[0], zap(1000), refused(4000), zap(9000)], resolve=in_gather),), True),
        ((case(LEAKED, resolve=lambda _: None),), False),
    ),
    rules.never_removed: (
        ((case(LEAKED),), True),
        ((case(LEAKED, lost=1),), False),
        ((case(LEAKED[:4], "timeout"),), False),  # the zap may not be over
        ((case([*LEAKED, removed(9500, pid=99)]),), False),
        ((case([*LEAKED[:4], removed(5000, mm=MM + 0x800), LEAKED[4]]),), False),
        ((BY_EVENTS,), False),
        ((printed(STATE),), False),
    ),
    rules.counted_without_pte: (
        ((found(busy(finding(NEVER, 1, 2, 2))),), True),
        ((found(busy(finding(NEVER, 1, 2, 0))),), False),
        ((found(busy(finding(BELOW, 1, 2, 1))),), True),
        ((found(busy(finding(BELOW, 1, 2, 1), MM)),), False),  # a CPU is changing page tables
        ((found(busy(finding(BELOW, 2, 2, 1))),), False),
        ((printed(STATE),), False),
    ),
    rules.zapped_and_leaked: (
        ((case(LEAKED),), True),
        ((stopped(LEAKED, 0),), True),
        ((case([*LEAKED[:2], freed(3000, order=9), *LEAKED[3:]]),), False),
        ((case(LEAKED, resolve=copied_on_write),), False),  # freed by no zap
        ((BY_EVENTS,), False),
    ),
    rules.counter_jumped: (
        ((case([zap(1000), removed(2000, raw=0), freed(3000, raw=8), zap(9000)]),), True),
        ((case([zap(1000), removed(2000, raw=1), freed(3000, raw=0), zap(9000)]),), False),
        ((case(LEAKED),), False),
    ),
    rules.counted_once_too_often: (
        ((found(busy(finding(NEVER, 1, 2, 2))),), True),
        ((found(busy(finding(NEVER, 1, 8, 1))),), False),  # seven leaks of one page, or none
        ((case(LEAKED),), False),
        ((BY_EVENTS,), False),
    ),
    rules.rmap_underflow: (
        ((case(TWICE),), True),
        ((case(TWICE, lost=1),), False),
        ((case([TWICE[0], TWICE[1], removed(2100, raw=0), *TWICE[3:]]),), False),
        ((case(AGAIN, resolve=in_zap),), False),
    ),
    rules.zapped_again: (
        ((case(AGAIN, resolve=in_zap),), True),
        ((case(AGAIN, resolve=lambda _: None),), False),
        ((case(AGAIN, resolve=in_zap, lost=1),), False),
        ((case([zap(1000, addr=0x1000, end=0x2000), *AGAIN[1:]], resolve=in_zap),), False),
        ((case(TWICE),), False),
    ),
    rules.never_refused: (
        ((found(busy(finding(MORE, 2, 1, 1, OTHER))),), True),
        ((found(busy(BEHIND)),), True),
        ((found(busy(finding(FREED, 1, 0, 0, OTHER))),), False),
        ((found(busy(finding(FREED, 1, 0, 0, OTHER)), "bad_page"),), True),
    ),
    rules.pte_of_nobody: (
        ((found(busy(BEHIND)),), True),
        ((found(busy(finding(MORE, 2, 1, 1, OTHER, MINE))),), True),
        ((found(busy(finding(MORE, 2, 1, 1, OTHER, MINE), MM)),), False),
        ((found(busy(finding(MORE, 1, 0, 1, OTHER))),), False),
        ((found(busy(finding(MORE, 2, 1, 1))),), False),
        ((printed(STATE),), False),
    ),
    rules.zapped_but_there: (
        ((case(AGAIN[:2], audit=busy(finding(MORE, 1, 0, 1, MINE)), resolve=in_zap),), True),
        ((case(AGAIN[:2], audit=busy(finding(MORE, 1, 0, 1, OTHER)), resolve=in_zap),), False),
        ((case(AGAIN[:2], audit=busy(finding(MORE, 1, 0, 1, MINE), MM), resolve=in_zap),), False),
        ((case(AGAIN[:2], audit=busy(finding(MORE, 1, 1, 1, MINE)), resolve=in_zap),), False),
        ((found(busy(finding(MORE, 1, 0, 1, MINE))),), False),
    ),
    rules.pte_left_behind: (
        ((case(AGAIN, resolve=in_zap),), True),
        ((found(busy(BEHIND)),), True),
        ((case(AGAIN[:2], audit=busy(finding(MORE, 1, 0, 1, MINE)), resolve=in_zap),), True),
        ((case(TWICE),), False),
        ((BY_EVENTS,), False),
        ((printed(STATE),), False),
    ),
    rules._may_be_zapped: (
        ((BY_EVENTS, MINE), True),
        ((BY_EVENTS, OTHER), False),
        ((found(busy(finding(FREED, 1, 1, 0, OTHER))), OTHER), False),
        ((found(busy(finding(FREED, 1, 1, 0, MINE), MM)), MINE), True),
    ),
    rules.refcount_overput: (
        ((stopped(LEAKED, 1, OTHER),), True),
        ((stopped(LEAKED, 1, MINE),), False),
        ((stopped(LEAKED, 0),), False),
        ((found(busy(finding(FREED, 1, 1, 0, OTHER))),), True),
        ((found(busy(finding(FREED, 1, 1, 0))),), False),  # whose PTE is not known
        ((found(busy(finding(FREED, 1, 0, 0, OTHER))),), False),
        ((case(LEAKED),), False),
    ),
    rules.folio_is_mapped_as_counted: (
        ((found(TOGETHER),), True),
        ((found(replace(TOGETHER, findings=(*TOGETHER.findings, LEAKED_TOO))),), False),
        ((printed(STATE),), True),
    ),
    rules.wrong_rmap: (
        ((found(busy(finding(FindingClass.WRONG_RMAP, 1, 1, 1, OTHER))),), True),
        ((BY_EVENTS,), False),
    ),
    rules.refcount_leaked: (
        ((found(busy(finding(FindingClass.REFCOUNT_LEAKED, 1, 1, 2, OTHER))),), True),
        ((found(busy(finding(NEVER, 1, 2, 2))),), False),
        ((BY_EVENTS,), False),
    ),
    rules.put_when_free: (
        ((printed(PUT),), True),
        ((printed(replace(PUT, refcount=1)),), False),
        ((printed(replace(PUT, reason=OLD_PUT)),), True),
        ((printed(replace(PUT, reason="(VM_BUG_ON_PAGE(page_ref_count(page) <= 0))")),), False),
        ((printed(STATE),), False),
        ((BY_EVENTS,), False),
    ),
    rules.zero_page_freed: (
        ((found(audit(ZERO_FREED)),), True),
        ((found(audit(replace(ZERO_FREED, folio=FOLIO))),), False),
        ((found(audit(ZERO_BELOW)),), False),
        ((BY_EVENTS,), False),
    ),
    rules.zero_page_unmapped: (
        ((case(BELOW_ZERO, "bad_page", audit=audit(ZERO_BELOW)),), True),
        ((case(BELOW_ZERO, "bad_page", audit=audit(replace(ZERO_BELOW, folio=FOLIO))),), False),
        ((found(audit(ZERO_BELOW)),), False),  # or something wrote over the counter
        ((found(audit(ZERO_FREED)),), False),
    ),
    rules.locked_vm_mismatch: (
        ((found(audit(LOCKED)),), True),
        ((found(audit(POOL)),), False),
        ((BY_EVENTS,), False),
    ),
    rules.hugetlb_pool_mismatch: (
        ((found(audit(POOL)),), True),
        ((found(audit(LOCKED)),), False),
        ((BY_EVENTS,), False),
    ),
    rules.mm_counter_mismatch: (
        ((found(audit(COUNTED)),), True),
        ((found(audit(LOCKED)),), False),
        ((BY_EVENTS,), False),
    ),
    rules.rss_mismatch: (
        ((found(audit(RSS)),), True),
        ((printed(Splat("bad_rss_counter", rss_type="MM_ANONPAGES", rss_value=1)),), True),
        ((BY_EVENTS,), False),
    ),
}


@pytest.mark.parametrize(
    ("rule", "args", "wanted"),
    [
        pytest.param(rule, args, wanted, id=f"{rule.__name__}-{number}")
        for rule, table in RULES.items()
        for number, (args, wanted) in enumerate(table)
    ],
)
def test_a_rule_says_yes_to_its_own_and_no_to_its_neighbours(
    rule: Callable[..., Any], args: tuple[Any, ...], wanted: Any
) -> None:
    assert rule(*args) == wanted


def test_every_rule_has_a_table_with_both_answers() -> None:
    functions = {one for _, one in inspect.getmembers(rules, inspect.isfunction)}
    own = {one for one in functions if one.__module__ == rules.__name__}
    assert own == RULES.keys()
    by_life = {one for _, one in inspect.getmembers(life_rules, inspect.isfunction)}
    assert {row.applies for row in verdict_table.RULES} <= own | by_life  # test_life_rules
    for rule, answers in RULES.items():
        assert len({wanted for _, wanted in answers}) > 1, rule.__name__


@pytest.mark.parametrize(
    ("one", "name", "kind"),
    [
        (BY_EVENTS, "freed_early", VerdictKind.FREED_BEFORE_RMAP_REMOVED),
        (case(LEAKED), "leaked", VerdictKind.MAPPING_LEAKED),
        (found(busy(finding(NEVER, 1, 2, 2))), "counted_above", VerdictKind.MAPPING_LEAKED),
        (case(TWICE), "removed_twice", VerdictKind.RMAP_UNDERFLOW),
        (case(AGAIN, resolve=in_zap), "left_behind", VerdictKind.PTE_LEFT_BEHIND),
        (stopped(LEAKED, 1, OTHER), "overput", VerdictKind.REFCOUNT_OVERPUT),
        (found(audit(RSS)), "rss", VerdictKind.RSS_MISMATCH),
        (found(audit(ZERO_FREED)), "zero_page_freed", VerdictKind.REFCOUNT_OVERPUT),
        (
            case(BELOW_ZERO, "bad_page", audit=audit(ZERO_BELOW)),
            "zero_page_unmapped",
            VerdictKind.RMAP_UNDERFLOW,
        ),
        (found(audit(LOCKED)), "locked_vm", VerdictKind.LOCKED_VM_MISMATCH),
        (found(audit(COUNTED)), "mm_counters", VerdictKind.UNEXPLAINED),
        (found(audit(POOL)), "hugetlb_pool", VerdictKind.HUGETLB_POOL_MISMATCH),
        (
            found(busy(finding(FindingClass.WRONG_RMAP, 1, 1, 1, OTHER))),
            "rmap_elsewhere",
            VerdictKind.WRONG_RMAP,
        ),
        (
            found(busy(finding(FindingClass.REFCOUNT_LEAKED, 1, 1, 2, OTHER))),
            "references",
            VerdictKind.REFCOUNT_LEAKED,
        ),
        (printed(PUT), "put_when_free", VerdictKind.FREED_TWICE),
        (printed(STATE), "unexplained", VerdictKind.UNEXPLAINED),
    ],
)
def test_every_row_of_the_table_has_a_story(one: Case, name: str, kind: VerdictKind) -> None:
    row = verdict_table.rule_of(one)
    assert (row.name, row.kind) == (name, kind)
    assert all(said.text and said.rests_on for said in row.summary(one))
