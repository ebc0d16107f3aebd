"""The references of a large folio that PTEs map, in lives made by hand: call by call."""

from __future__ import annotations

import pytest

from tests.unit.life.builders import BASE, FLAGS, HEAD, MAPCOUNT, REFCOUNT, page_fields
from tests.unit.life.large_folios import DRIVER, FIRST, LINK, PAGES, TIMER, LargeFolio
from tests.unit.life.lives import Mappable, resolve
from zaptrace.life.folio_pages import TailLinks, with_folios
from zaptrace.life.ledger import ledger
from zaptrace.life.left_over import What
from zaptrace.life.named_life import named_life
from zaptrace.life.records import of_pages


def test_each_pte_of_each_page_has_its_reference() -> None:
    folio = LargeFolio()
    folio.fork()
    folio.drain()
    folio.zaps(PAGES, table=1)
    folio.zaps(3, count=3)
    folio.zaps(PAGES - 3, first=3, count=PAGES - 3)
    account = folio.references()
    assert account.unpaired is None and folio.refcount == 0
    assert (account.gets, account.puts) == (33, 33) and folio.odd() == []


def test_a_fork_that_takes_one_reference_too_few_is_named() -> None:
    folio = LargeFolio()
    folio.drain()
    folio.fork(PAGES - 1)
    folio.zaps(PAGES, table=1)
    folio.zaps(PAGES)
    assert folio.refcount == -1
    said = "copy_present_ptes mm/memory.c:176 (16 entries set, 15 references taken)"
    assert folio.odd() == [(What.MAPPED_WITHOUT_GET, said)]


def test_another_holder_s_reference_is_not_the_one_that_a_fork_did_not_take() -> None:
    folio = LargeFolio()
    folio.drain()
    folio.refs(1, 7, DRIVER)
    folio.fork(PAGES - 1)
    folio.refs(-1, 8, DRIVER, TIMER)
    assert [what for what, _ in folio.odd()] == [What.MAPPED_WITHOUT_GET]


def test_a_zap_that_drops_one_more_is_named_with_the_gather() -> None:
    folio = LargeFolio()
    folio.drain()
    folio.unmaps(0x31, 0x22, 0x172, count=15)
    folio.refs(-1, 0x175, 0x22)
    folio.refs(-15, 0x173, 0x22, 0x174)
    said = (
        "zap_pte_range mm/memory.c:175 or tlb_batch_pages_flush mm/mmu_gather.c:174 "
        "(15 entries cleared, 16 references dropped)"
    )
    assert folio.odd() == [(What.PUT_WITHOUT_GET, said)]


def test_a_gather_that_drops_one_less_is_named() -> None:
    folio = LargeFolio()
    folio.drain()
    folio.zaps(PAGES - 1)
    ((what, text),) = folio.odd()
    assert what is What.CLEARED_NOT_PUT and text.endswith(
        "(16 entries cleared, 15 references dropped)"
    )
    others = [one.others for one in folio.references().left_over if one.what is what]
    assert [str(one.author) for one in others[0]] == ["folios_put_refs"]


def test_an_entry_that_is_modified_is_not_set_without_a_reference() -> None:
    """MADV_FREE clears and sets each PTE."""
    folio = LargeFolio()
    folio.drain()
    for at in range(PAGES):
        folio.unmaps(0x31, 0x22, first=at, count=1)
        folio.ptes(0x40, 0x22, first=at, count=1)
    folio.refs(-1, 0x175, 0x22)
    assert folio.odd() == [(What.PUT_WITHOUT_GET, "zap_pte_range mm/memory.c:175")]


def test_a_put_of_another_call_is_named_alone() -> None:
    folio = LargeFolio()
    folio.drain()
    folio.refs(-1, 8, TIMER)
    folio.zaps(PAGES)
    assert folio.odd() == [(What.PUT_WITHOUT_GET, "drv_put drivers/drv.c:81")]


def test_of_two_calls_that_dropped_one_reference_both_are_named() -> None:
    folio = LargeFolio()
    folio.drain()
    folio.refs(1, 7, DRIVER)
    folio.refs(-1, 8, TIMER)
    folio.refs(-1, 0x175, DRIVER, TIMER)
    ((what, said),) = folio.odd()
    assert what is What.PUT_WITHOUT_GET
    assert "drv_put drivers/drv.c:81" in said


def test_a_reference_that_a_batch_still_holds_is_no_call_s() -> None:
    folio = LargeFolio()
    folio.zaps(PAGES)
    assert [what for what, _ in folio.odd()] == [What.GET_WITHOUT_PUT]
    folio.refs(1, 7, DRIVER)  # anything else that may have been kept comes before it
    assert folio.odd() == [(What.GET_WITHOUT_PUT, "drv_get drivers/drv.c:71")]


@pytest.mark.parametrize(("taken", "left"), [(16, []), (15, [What.MAPPED_WITHOUT_GET])])
def test_migration_takes_a_reference_for_each_entry_and_drops_its_own(
    taken: int, left: list[What]
) -> None:
    folio = LargeFolio.__new__(LargeFolio)
    Mappable.__init__(folio)
    folio.pages = PAGES
    folio.store(REFCOUNT, 0, pfn=FIRST, pc=1)
    folio.refs(1, 1, 0x17A)
    folio.store(FLAGS, 1 << HEAD, 8, pfn=FIRST, pc=0x17C)
    for pfn in range(FIRST + 1, FIRST + PAGES):
        folio.store(LINK, BASE + FIRST * 64 + 1, 8, pfn=pfn, pc=0x17C)
    folio.refs(taken, 0x179, 0x17A)
    folio.ptes(0x178, 0x17A)
    folio.refs(-1, 0x17B, 0x17A)
    assert [what for what, _ in folio.odd()] == left


def test_pages_that_are_others_after_the_free_are_not_the_folio_s() -> None:
    folio = LargeFolio()
    folio.drain()
    folio.zaps(PAGES)
    folio.ptes(0x30, 0x21, first=3, count=2, table=2)
    folio.unmaps(0x31, 0x22, first=3, count=2, table=2)
    assert folio.odd() == []


def test_a_cache_that_keeps_one_of_its_references_is_named() -> None:
    folio = LargeFolio()
    folio.drain()
    folio.refs(PAGES, 14, 0x21)
    folio.zaps(PAGES)
    assert folio.odd() == []
    folio.refs(1 - PAGES, 15, 0x23)
    (left,) = (one for one in folio.references().left_over if one.what is What.GET_WITHOUT_PUT)
    assert left.count == 1
    assert [str(one.author) for one in left.among] == ["shmem_add_to_page_cache"]
    assert [str(one.author) for one in left.others] == ["filemap_free_folio"]


def test_a_page_table_of_several_pages_is_no_folio_that_is_mapped() -> None:
    """s390x's region tables: what points to them are entries of the table above."""
    folio = LargeFolio(4)
    folio.drain()
    folio.store(MAPCOUNT, -0x2000, pfn=FIRST, pc=0x17C)
    folio.unmaps(0x31, 0x22, count=1)
    assert [what for what, _ in folio.odd()] == [What.GET_WITHOUT_PUT]


def test_what_is_kept_of_a_folio_says_the_same() -> None:
    folio = LargeFolio()
    folio.drain()
    folio.fork(PAGES - 1)
    life = folio.large()
    assert with_folios(life, (FIRST + 7,)) == (FIRST + 7, FIRST)
    kept = of_pages(life, (FIRST + 7, FIRST))
    named = named_life(kept, FIRST, resolve)
    assert named.life.pages == PAGES
    assert ledger(named, page_fields()) == folio.references()


def test_a_tail_s_link_is_its_head_s_address_or_a_mask() -> None:
    folio = LargeFolio()
    assert TailLinks(folio.large()).tails(FIRST).tolist() == list(range(FIRST + 1, FIRST + PAGES))
    for pfn in range(FIRST + 17, FIRST + 24):  # of eight pages from FIRST + 16 on
        folio.store(LINK, 2**64 - 8 * 64 + 1, 8, pfn=pfn, pc=0x17C)
    links = TailLinks(folio.large())
    assert links.tails(FIRST + 16).tolist() == list(range(FIRST + 17, FIRST + 24))
    assert links.heads_of((FIRST + 3, FIRST + 20)) == {FIRST + 3: FIRST, FIRST + 20: FIRST + 16}


def test_a_link_to_nowhere_makes_no_folio() -> None:
    folio = LargeFolio()
    for value in (1, 2**64 - 1, BASE + (FIRST + 9) * 64 + 1, BASE + 33):
        folio.store(LINK, value, 8, pfn=FIRST + 3, pc=0x17C)
    assert TailLinks(folio.large()).heads_of((FIRST + 3,)) == {FIRST + 3: FIRST}
