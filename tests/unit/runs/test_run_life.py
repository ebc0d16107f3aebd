"""A run's life.zap that is none, or none of this run's: one line says so."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import drgn
import pytest

from tests.unit.kernel.small_vmlinux import SOURCE, small_vmlinux
from tests.unit.life.builders import PFN as HAND_MADE
from tests.unit.life.lives import NAMES, Page, resolve
from tests.unit.life.recorded import DATA, FOUNDING, HEADS, PFN, recorded, sites
from zaptrace.explain import Evidence
from zaptrace.explain.life_wording import life_sentences
from zaptrace.explain.predicates import Case
from zaptrace.explain.story import Story
from zaptrace.life.completeness import Completeness
from zaptrace.life.life_file import read, write
from zaptrace.life.records import Life
from zaptrace.model.errors import BadInput
from zaptrace.runs.folder import RunFacts, RunFolder
from zaptrace.runs.life_recorder import life_recorder
from zaptrace.runs.run_life import RunLife, kept_lives, open_life

BOOT, OTHER = "0a77d9c2-1111-4222-8333-444455556666", "0b77d9c2-1111-4222-8333-444455556666"

NAMED = {(at, back): resolve(at, back) for at in NAMES for back in (False, True)}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create("s390x", tmp_path / "run")
    facts = RunFacts("s390x", "image", str(tmp_path / "vmlinux"), "initrd", None, "zaptrace repro")
    facts.boot_id = BOOT
    folder.save_facts(facts)
    return folder


@pytest.mark.parametrize("name", list(HEADS))
def test_a_folio_that_is_wrong_as_a_whole_is_its_second_page_s_account(
    run: RunFolder, name: str
) -> None:
    """bad_page() is given the page that the folio's counters lie in."""
    life, complete = read(DATA / f"{name}.zap")
    lives = RunLife(run, life, complete, drgn.Program(), over=True, _sites=sites(name))
    head = HEADS[name]
    for pfn in (head, head + 1):
        account = lives.account(pfn, None)
        assert account is not None and account.named.life.pfn == head
        assert account.facts[0].is_of_folio
        evidence = Evidence(None, lives=lives)
        said = [one.text for one in life_sentences(Case(Story(pfn), (), evidence, account))]
        whose = f"pfn {head:#x}, its folio's first page," if pfn != head else f"pfn {head:#x},"
        assert said[0].startswith(f"By the recorded life of {whose} ")
        assert "a PMD " in said[0] and "PTE" not in said[0]


def life_of_two(*, too_early: bool) -> Life:
    """A page that a zap freed, and was allocated again: at first while a batch held it."""
    page = Page()
    page.refs(1, 1, 0x21)
    page.maps(1, 2, 0x21)
    page.refs(1, 3, 0x21)  # a batch of the LRU lists
    page.unmap()
    page.refs(-1, 4, 0x27 if too_early else 0x24)
    page.refs(1, 1, 0x21)
    page.refs(1, 3, 0x21)
    page.refs(-1, 4, 0x24)
    if too_early:
        page.refs(-1, 4, 0x24)  # of the first batch, which takes this life's reference
    return page.life()


@pytest.mark.parametrize("too_early", [False, True])
def test_a_page_that_was_freed_too_early_went_wrong_in_its_life_before(
    run: RunFolder, too_early: bool
) -> None:
    """6.14: a batch of the LRU lists met a page again that had been freed and allocated since."""
    whole = Completeness(8, 0)
    lives = RunLife(
        run, life_of_two(too_early=too_early), whole, drgn.Program(), over=True, _sites=NAMED
    )
    account = lives.account(HAND_MADE, None)
    assert account is not None and account.earlier == too_early
    evidence = Evidence(None, lives=lives)
    said = [one.text for one in life_sentences(Case(Story(HAND_MADE), (), evidence, account))]
    wrong = (
        "By the recorded life of pfn 0x5da before it was allocated again, exit_mmap() at "
        "mm/mmap.c:3000 dropped a reference that had not been taken."
    )
    assert said == ([wrong] if too_early else [])


@pytest.mark.parametrize("boot", [None, BOOT, f"{BOOT}/1111-aaaa"])
def test_the_runs_own_is_opened_and_without_its_vmlinux_has_no_names(
    run: RunFolder, boot: str | None
) -> None:
    life, complete = recorded()
    write(run.life, dataclasses.replace(life, boot=boot), complete)
    lives = open_life(run)
    assert len(lives.page(PFN).writes) == 32
    assert lives.unseen and "The code has no names" in lives.unseen[0]
    assert lives.account(PFN, None) is None  # no verdict rests on code without names


def test_another_boots_is_refused(run: RunFolder) -> None:
    life, complete = recorded()
    write(run.life, dataclasses.replace(life, boot=OTHER), complete)
    with pytest.raises(
        BadInput, match=rf"life\.zap is another boot's .*{OTHER} and {BOOT}"
    ) as said:
        open_life(run)
    assert "\n" not in str(said.value)


def test_half_of_it_is_refused(run: RunFolder) -> None:
    run.life.write_bytes(FOUNDING.read_bytes()[:2000])
    with pytest.raises(BadInput, match=r"life\.zap is cut short or damaged"):
        open_life(run)
    with pytest.raises(BadInput, match=r"life\.zap is cut short or damaged"):
        kept_lives(run, None)


def test_none_is_said_with_its_reason(run: RunFolder) -> None:
    facts = run.facts()
    facts.life_unrecorded = ["Pages' lives were not recorded: kvm has no plugins."]
    run.save_facts(facts)
    with pytest.raises(BadInput, match=r"no pages' lives: .*not recorded: kvm has no plugins$"):
        open_life(run)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_a_kernel_without_vmemmap_boots_without(tmp_path: Path) -> None:
    vmlinux = small_vmlinux(tmp_path, SOURCE.replace("vmemmap", "other_map"))
    said: list[str] = []
    with life_recorder("s390x", vmlinux, said) as recorder:
        assert recorder is None
    missing = "no start_kernel(), no _stext or no vmemmap in it"
    assert said == [f"Pages' lives were not recorded: {vmlinux}: {missing}."]
