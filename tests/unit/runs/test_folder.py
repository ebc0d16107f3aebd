"""The run folder: private, found again, readable also when the run was cut short."""

from __future__ import annotations

from pathlib import Path

import pytest

from zaptrace.model.errors import BadInput
from zaptrace.runs.folder import RunFacts, RunFolder, all_runs


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def facts() -> RunFacts:
    return RunFacts("s390x", "image", "vmlinux", "initrd", "batch", "zaptrace repro s390x")


def test_two_runs_of_one_second_get_two_folders() -> None:
    first, second = RunFolder.create("s390x"), RunFolder.create("s390x")
    assert first.path != second.path
    assert first.path.stat().st_mode & 0o777 == 0o700


def test_the_newest_run_is_the_default() -> None:
    first, second = RunFolder.create("s390x"), RunFolder.create("s390x")
    for run in (first, second):
        run.save_facts(facts())
    assert RunFolder.open(None).path == second.path
    assert [run.path for run in all_runs()] == [first.path, second.path]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(BadInput, match="not empty"):
        RunFolder.create("s390x", tmp_path)


def test_no_run_yet_says_how_to_make_one() -> None:
    with pytest.raises(BadInput) as caught:
        RunFolder.open(None)
    assert caught.value.hint == "zaptrace repro s390x"


def test_facts_survive_and_what_is_missing_is_none(tmp_path: Path) -> None:
    run = RunFolder.create("s390x", tmp_path / "run")
    run.save_facts(facts())
    assert run.facts() == facts()
    assert run.plan() is None
    assert run.audit() is None
    assert run.verdict() is None


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"arch": 1}'])
def test_a_damaged_run_is_said_to_be_damaged(tmp_path: Path, damage: str) -> None:
    run = RunFolder.create("s390x", tmp_path / "run")
    (run.path / "run.json").write_text(damage)
    with pytest.raises(BadInput, match=r"run\.json"):
        run.facts()
