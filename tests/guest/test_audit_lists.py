"""Lists of pages in a guest whose tasks sleep: the LRU lists, the CPUs' free lists, the buddies'.

Faults are planted in what drgn reads of the dump: a link leads elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import drgn
import numpy as np
import pytest
from drgn.helpers.linux.mm import pfn_to_page

from tests.guest.holders import Held, pfn_of
from tests.guest.planting import planted
from zaptrace.audit.audited import Audited, audit
from zaptrace.audit.references import References
from zaptrace.audit.structpages.page_flags import flags_of
from zaptrace.audit.structpages.pcp_lists import on_cpu_lists
from zaptrace.memory.open import vmcoreinfo_of
from zaptrace.model.findings import Finding, FindingClass

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def found(held: Held) -> Audited:
    return audit(held.opened())


@pytest.mark.parametrize("first", [True, False])
def test_a_page_on_an_lru_list_without_its_flag_is_found(
    held: Held, found: Audited, first: bool
) -> None:
    """Of the first page of a list its head leads there, which is not looked at."""
    state = found.state
    lru, unevictable = (
        np.uint64(1 << state.prog.constant(name).value_()) for name in ("PG_lru", "PG_unevictable")
    )
    flags = state.pages.column("flags")
    listed = np.flatnonzero((flags & (lru | unevictable)) == lru)
    in_batches = References(state, found.owners).batches  # these may lack the flag

    def page_beside(index: int, side: str) -> bool:
        link = pfn_to_page(state.prog, pfn_of(found, index)).lru
        at = drgn.offsetof(state.prog.type("struct page"), "lru")
        return state.pages.index_at(link.member_(side).value_() - at) >= 0

    index = next(
        index
        for index in listed.tolist()
        if index not in in_batches
        and page_beside(index, "next")
        and page_beside(index, "prev") is not first
    )
    pfn = pfn_of(found, index)
    (finding,) = planted(
        held, lambda prog: (pfn_to_page(prog, pfn).member_("flags").address_, "Q", -int(lru))
    )
    assert (finding.cls, finding.pfn) == (FindingClass.LRU_FLAG_MISMATCH, pfn)


def with_link(held: Held, found: Audited, index: int, to: int) -> tuple[Finding, ...]:
    """What is found where a page's lru.next leads to another page."""
    prog = found.state.prog
    at = drgn.offsetof(prog.type("struct page"), "lru")
    here = pfn_to_page(prog, pfn_of(found, index))
    more = int(found.state.pages.addresses(np.array([to]))[0]) + at - here.lru.next.value_()
    return planted(
        held,
        lambda prog: (
            pfn_to_page(prog, pfn_of(found, index)).lru.next.address_of_().value_(),
            "Q",
            more,
        ),
    )


def blocks_of(found: Audited) -> set[int]:
    """The first pages of the buddy allocator's blocks, which its lists have."""
    prog, pages = found.state.prog, found.state.pages
    buddy = flags_of(prog, vmcoreinfo_of(prog)).buddy
    return set(np.flatnonzero(pages.column("raw_mapcount") == buddy).tolist())


def led_to(found: Audited, among: set[int]) -> Iterator[tuple[int, int]]:
    """Pages of some, and the page of those that each one's lru.next leads to."""
    at = np.uint64(drgn.offsetof(found.state.prog.type("struct page"), "lru"))
    pages = np.array(sorted(among))
    nexts = found.state.pages.indices_at(found.state.pages.links()[pages] - at)
    for index, after in zip(pages.tolist(), nexts.tolist(), strict=True):
        if after in among:
            yield index, after


def test_a_cpu_s_free_list_that_runs_in_a_circle_is_found(held: Held, found: Audited) -> None:
    """As after a second list_add(): its second page leads back to the first."""
    listed, broken = on_cpu_lists(found.state.prog, found.state.pages)
    assert not broken
    first, second = next(led_to(found, set(listed.tolist())))
    (finding,) = with_link(held, found, second, first)
    assert (finding.cls, finding.pfn) == (FindingClass.FREE_LIST_BROKEN, pfn_of(found, second))
    assert re.fullmatch(
        rf"it is on a free list \(CPU \d's list of zone \w+\), and its lru.next leads to pfn "
        rf"{pfn_of(found, first):#x}, which stands before it",
        str(finding.note),
    )


def test_a_page_that_was_put_on_a_cpu_s_list_twice_leads_to_itself(
    held: Held, found: Audited
) -> None:
    listed, _ = on_cpu_lists(found.state.prog, found.state.pages)
    first, _ = next(led_to(found, set(listed.tolist())))
    (finding,) = with_link(held, found, first, first)
    assert (finding.cls, finding.pfn) == (FindingClass.FREE_LIST_BROKEN, pfn_of(found, first))
    assert str(finding.note).endswith("and its lru.next leads to itself")


def test_a_cpu_s_free_list_that_leads_to_what_is_no_page_is_found(
    held: Held, found: Audited
) -> None:
    """list_del() poisons what it takes off (LIST_POISON1)."""
    prog = found.state.prog
    listed, _ = on_cpu_lists(prog, found.state.pages)
    first, _ = next(led_to(found, set(listed.tolist())))
    pfn = pfn_of(found, first)
    more = 0x100 - pfn_to_page(prog, pfn).lru.next.value_()

    def plant(prog: drgn.Program) -> tuple[int, str, int]:
        return pfn_to_page(prog, pfn).lru.next.address_of_().value_(), "Q", more

    (finding,) = planted(held, plant)
    assert (finding.cls, finding.pfn) == (FindingClass.FREE_LIST_BROKEN, pfn)
    assert "leads to 0x100, which is no page's" in str(finding.note)


def test_a_buddy_that_leads_to_another_list_s_page_is_found(held: Held, found: Audited) -> None:
    pairs = led_to(found, blocks_of(found))
    (_, target), (index, after) = next(pairs), next(pairs)
    assert target != after
    broken = with_link(held, found, index, target)
    assert {finding.cls for finding in broken} == {FindingClass.FREE_LIST_BROKEN}
    assert pfn_of(found, index) in {finding.pfn for finding in broken}
    assert all(str(one.note).endswith("another free page leads to as well") for one in broken)


def test_a_buddy_that_leads_to_a_page_in_use_is_found(held: Held, found: Audited) -> None:
    index, _ = next(led_to(found, blocks_of(found)))
    used = int(np.flatnonzero(found.state.ptes)[0])
    (finding,) = with_link(held, found, index, used)
    assert (finding.cls, finding.pfn) == (FindingClass.FREE_LIST_BROKEN, pfn_of(found, index))
    assert str(finding.note).endswith(
        f"leads to pfn {pfn_of(found, used):#x}, which is not the buddy allocator's"
    )
