"""Huge pages whose PMD and rmap do not go together, as `zaptrace repro x86_64` recorded them.

A running 6.12 kernel lost one call: that of folio_remove_rmap_pmd() in zap_huge_pmd(), or that of
folio_add_new_anon_rmap() in __do_huge_pmd_anonymous_page().
"""

from __future__ import annotations

import pytest

from tests.unit.life.recorded import DATA, HEADS, sites
from zaptrace.life.folio_pages import mapped_folios, with_folios
from zaptrace.life.ledger import Ledger, ledger
from zaptrace.life.left_over import What
from zaptrace.life.life_file import read
from zaptrace.life.named_life import NamedLife, named_life
from zaptrace.life.records import of_pages


def huge(name: str, at: int = 0) -> tuple[NamedLife, Ledger]:
    """The life and the ledger of a page of the folio."""
    life, _ = read(DATA / f"{name}.zap")
    known = sites(name)
    named = named_life(life, HEADS[name] + at, lambda address, back: known[address, back])
    return named, ledger(named, life.fields)


def test_a_pmd_that_is_cleared_without_its_rmap_is_named() -> None:
    named, account = huge("huge-noremove")
    assert named.life.folio and (account.adds, account.removals) == (1, 0)
    roles = [one.role for one in named.writes if one.write.is_whole]
    assert roles == ["mapped", "PMD set", "PMD cleared"]
    first = account.left_over[0]
    assert first.what is What.PTE_CLEARED and first.is_of_folio
    said = "PMD cleared and its rmap not removed: zap_huge_pmd mm/huge_memory.c:2112"
    assert first.sentence() == said
    assert What.FREED_WHILE_MAPPED in [one.what for one in account.left_over]


def test_a_pmd_that_is_set_without_an_rmap_is_named() -> None:
    named, account = huge("huge-noadd")
    roles = [one.role for one in named.writes if one.write.is_whole]
    assert roles == ["PMD set", "PMD cleared", "unmapped"]
    said = "PMD set and no rmap added: __do_huge_pmd_anonymous_page mm/huge_memory.c:1252"
    assert account.left_over[0].sentence() == said


@pytest.mark.parametrize("name", list(HEADS))
def test_the_second_page_has_no_mappings_of_its_own(name: str) -> None:
    named, account = huge(name, 1)
    assert not named.life.folio and account.left_over == ()


@pytest.mark.parametrize("name", list(HEADS))
def test_a_page_of_the_folio_is_kept_with_the_pages_that_count_it(name: str) -> None:
    life, _ = read(DATA / f"{name}.zap")
    head = HEADS[name]
    assert head in mapped_folios(life).tolist()
    assert with_folios(life, (head + 77,)) == (head + 77, head, head + 1)
    assert with_folios(life, (head + 512,)) == (head + 512,)
    # Even where the first page alone is kept.
    one = of_pages(life, (head,))
    assert (one.pages() == head + 1).any() and one.pfns == (head,)
