"""A run's life.zap that is none, or none of this run's: one line says so."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from tests.unit.kernel.small_vmlinux import SOURCE, small_vmlinux
from tests.unit.life.recorded import FOUNDING, PFN, recorded
from zaptrace.life.life_file import write
from zaptrace.model.errors import BadInput
from zaptrace.runs.folder import RunFacts, RunFolder
from zaptrace.runs.life_recorder import life_recorder
from zaptrace.runs.run_life import kept_lives, open_life

BOOT, OTHER = "0a77d9c2-1111-4222-8333-444455556666", "0b77d9c2-1111-4222-8333-444455556666"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create("s390x", tmp_path / "run")
    facts = RunFacts("s390x", "image", str(tmp_path / "vmlinux"), "initrd", None, "zaptrace repro")
    facts.boot_id = BOOT
    folder.save_facts(facts)
    return folder


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
