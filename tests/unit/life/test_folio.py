"""A large folio that PMDs map, in lives made by hand."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.life.builders import PFN, REFCOUNT, page_fields
from tests.unit.life.folios import FIRST, PLACE, Folio, fields
from tests.unit.life.lives import OTHER, Mappable, resolve
from zaptrace.life.ledger import ledger
from zaptrace.life.left_over import What
from zaptrace.life.named_life import named_life
from zaptrace.life.page_life import ENTIRE
from zaptrace.life.page_members import Field, PageFields
from zaptrace.life.pte_records import NO_PAGE, PteFormat
from zaptrace.runs.keep_lives import pte_format


def test_a_folio_that_is_mapped_and_zapped_leaves_nothing() -> None:
    folio = Folio()
    folio.fault()
    folio.zap()
    roles = [one.role for one in folio.named().writes if one.role]
    assert roles == ["mapped", "PMD set", "PMD cleared", "unmapped"]
    assert folio.left() == [] and (folio.account().adds, folio.account().removals) == (1, 1)


def test_the_counter_s_first_store_is_no_mapping() -> None:
    """Whatever its place held before: the memory map's zero, or a list."""
    folio = Folio()
    folio.word(0)
    folio.store(PLACE, 0, pfn=FIRST + 1, pc=0x158)
    folio.word(1)
    folio.counts(-1, 0x150, 0x160)
    assert folio.account().adds == 0 and folio.left() == []


def test_another_member_in_the_same_place_is_no_counter() -> None:
    """`mapping` of 7.3's tails: eight bytes are stored where the counter has four."""
    folio = Folio()
    folio.fault()
    folio.zap()
    folio.store(PLACE - 4, 0, 8, pfn=FIRST + 1, pc=0x158)
    assert folio.account().adds == 1 and folio.left() == []


def test_a_split_removes_the_rmap_before_the_pmd() -> None:
    folio = Folio()
    folio.fault()
    folio.counts(-1, 0x152, 0x162, 0x155)
    folio.pmd(0x155, 0x162, pfn=0)
    assert folio.left() == []
    # Elsewhere that is a PMD which is left behind.
    folio = Folio()
    folio.fault()
    folio.counts(-1, 0x152, 0x161, 0x154)
    assert folio.said()[0].startswith("rmap removed and its PMD not cleared: ")


def test_a_split_that_keeps_the_rmap_is_named() -> None:
    folio = Folio()
    folio.fault()
    folio.pmd(0x155, 0x162, pfn=0)
    said = "PMD cleared and its rmap not removed: __split_huge_pmd_locked mm/huge_memory.c:57"
    assert folio.said() == [said]


def test_before_6_2_a_file_s_folio_counts_each_of_its_pages_too() -> None:
    folio = Folio()
    folio.first(1, 0x15B, 0x160)
    folio.counts(0, 0x15B, 0x160)
    folio.pmd(0x153, 0x160)
    folio.pmd(0x154, 0x161, pfn=0)
    assert folio.said() == [
        "PMD cleared and its rmap not removed: zap_huge_pmd mm/huge_memory.c:56"
    ]
    folio.first(-1, 0x15C, 0x161, 0x154)
    folio.counts(-1, 0x15C, 0x161, 0x154)
    assert folio.left() == []


def test_the_ptes_of_a_split_have_an_rmap_each() -> None:
    folio = Folio()
    folio.fault()
    folio.first(1, 0x15D, 0x162, 0x155)
    folio.sets(0x155, 0x162, slot=OTHER, at=FIRST)
    folio.counts(-1, 0x152, 0x162, 0x155)
    folio.pmd(0x155, 0x162, pfn=0)
    assert folio.left() == []
    folio.clears(0x31, 0x22, slot=OTHER)
    assert folio.said() == ["PTE cleared and its rmap not removed: zap_pte_range mm/memory.c:21"]


def test_a_fork_that_adds_none_is_named() -> None:
    folio = Folio()
    folio.fault()
    folio.pmd(0x156, 0x21, slot=OTHER)
    assert folio.said() == ["PMD set and no rmap added: copy_huge_pmd mm/huge_memory.c:58"]


def test_the_reference_of_a_pmd_that_nothing_counted_is_put_with_it() -> None:
    folio = Folio()
    folio.store(REFCOUNT, 0, pfn=FIRST, pc=0x150)
    folio.held(1, 1, 0x160)
    folio.fault()
    folio.held(1, 7, 0x21)
    folio.pmd(0x156, 0x21, slot=OTHER)
    folio.pmd(0x154, 0x161, slot=OTHER, pfn=0)
    folio.counts(-1, 0x152, 0x161, 0x154)
    folio.held(-1, 6, 0x161)
    assert (folio.account().gets, folio.account().puts) == (2, 1)
    folio.zap()
    folio.held(-1, 6, 0x161)
    assert folio.left() == [What.PTE_WITHOUT_RMAP]


def test_the_huge_zero_folio_is_mapped_and_not_counted() -> None:
    folio = Folio()
    folio.pmd(0x157, 0x160)
    folio.pmd(0x154, 0x161, pfn=0)
    assert folio.left() == []


def test_a_stray_store_to_the_counter_is_one() -> None:
    folio = Folio()
    folio.fault()
    folio.counts(7, 0x159, 0x160)
    assert What.STRAY in folio.left()


def test_a_counter_that_changed_without_a_store_is_seen() -> None:
    folio = Folio()
    folio.fault()
    folio.entire = 5
    folio.zap()
    assert folio.left() == [What.UNSEEN]


def test_without_the_counter_in_the_recording_no_pmd_is_judged() -> None:
    folio = Folio()
    folio.pmd(0x153, 0x160)
    life = dataclasses.replace(folio.whole(), fields=page_fields())
    named = named_life(life, FIRST, resolve, since_boot=True)
    assert not named.life.folio and ledger(named, page_fields()).left_over == ()


def test_an_entry_of_the_kernel_and_what_is_stored_over_it_map_nothing() -> None:
    page = Mappable()
    page.fault()
    page.sets(0x15A, 0x25, slot=OTHER, at=PFN)
    page.clears(0x30, 0x21, slot=OTHER)
    page.sets(0x30, 0x21)
    page.zap()
    assert page.left() == []


def test_the_fields_of_a_kernel_with_that_counter_survive_a_file() -> None:
    assert PageFields.from_json(fields().to_json()) == fields()
    old = page_fields().to_json()
    del old["entire"]
    assert PageFields.from_json(old) == page_fields()
    data = {**fields().to_json(), "entire": dataclasses.asdict(Field("x", 62, 4))}
    with pytest.raises(ValueError, match="no struct page has such a x"):
        PageFields.from_json(data)


def test_x86_64_tells_a_pmd_from_a_pte() -> None:
    form = pte_format("x86_64")
    pmd, pte, table = 0x600 << 12 | 0x8E7, 0x601 << 12 | 0x867, 0x602 << 12 | 0x67
    pat = 0x603 << 12 | 0x8E7  # a PTE with PAT, where PSE is in a PMD
    split = ~(0x600 << 12) & 0xFFFFFFFE00000 | 0x80  # not present: its address is complemented
    assert form.heads([pmd, pte, table, pat, 0]).tolist() == [0x600, *[NO_PAGE] * 4]
    assert form.heads([split]).tolist() == [0x600]
    assert form.heads([pmd | 0x200]).tolist() == [NO_PAGE]  # special: of no struct page
    assert form.pfns([pmd, pte]).tolist() == [NO_PAGE, 0x601]
    assert form.pages_of_huge == 512
    assert PteFormat.from_json(form.to_json()) == form
    # s390x's PTE has another meaning for that bit, and QEMU has no EDAT: no huge pages at all.
    assert pte_format("s390x").huge == ()


def test_a_format_of_before_has_no_large_entries() -> None:
    old = pte_format("x86_64").to_json()
    del old["huge"], old["huge_origin"]
    form = PteFormat.from_json(old)
    assert form.heads([0x600 << 12 | 0x8E7]).tolist() == [NO_PAGE] and form.pages_of_huge == 0


def test_the_counter_has_one_name() -> None:
    folio = Folio()
    folio.fault()
    changes = [change for one in folio.named().writes for change in one.write.changes]
    assert ENTIRE in {change.name for change in changes}
