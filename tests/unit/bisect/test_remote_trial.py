"""A commit's trial on a worker: a toy kernel out of a pack, in a work tree of the worker's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.bisect.toy import git, history
from vm.kernel_tree import Tree
from zaptrace.runs.bisect import pack, remote_trial
from zaptrace.runs.bisect.repo import Repo
from zaptrace.runs.bisect.trial import Guest, Mark, Outcome


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "task").mkdir()
    return tmp_path / "task"


def asked(folder: Path, tree: Path, commit: str, **more: Any) -> None:
    ends = made(tree, folder)
    guest = {"append": "", "memory": "512M", "smp": 2, "timeout": 60.0, "boots": 3}
    trial = {"arch": "s390x", "guest": guest, "ends": ends, "bug": None, "sight": None}
    commit = git(tree, "rev-parse", commit)
    (folder / "trial.json").write_text(json.dumps(trial | {"commit": commit} | more))


def made(tree: Path, folder: Path) -> tuple[str, ...]:
    """The pack of the toy's range; its ends."""
    repo = Repo(tree)
    return pack.make(repo, repo.commit("good"), repo.commit("bad"), folder / "pack")


def outcome(folder: Path) -> Outcome:
    return Outcome.from_json(json.loads((folder / "outcome.json").read_bytes()))


def test_what_does_not_build_is_skipped(folder: Path, tmp_path: Path) -> None:
    """Nothing is pretended here: the toy's own Makefile says so."""
    asked(folder, history(tmp_path / "linux", broken=4), "bad~3")
    assert remote_trial.main(folder) == 0
    found = outcome(folder)
    assert found.mark is Mark.SKIP
    assert "mm/memory.c:7:1: error: expected ';'" in found.why


def test_the_commit_with_its_change_is_what_is_tried(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = history(tmp_path / "linux")
    git(tree, "checkout", "--quiet", "bad")
    git(tree, "rm", "--quiet", "bug")
    change = Repo(tree).read("diff", "--binary", "--full-index", "HEAD")
    bug = {"kind": "rmap_underflow", "function": "zap_pte_range"}
    asked(folder, tree, "bad", bug=bug, sight={"parts": ["capture"], "events": ["zap"]})
    (folder / "change.patch").write_bytes(change)
    (folder / "config").write_text("CONFIG_MMU=y\n")
    (folder / "initrd").write_bytes(b"cpio")
    seen: list[Any] = []

    def tried(source: Tree, guest: Guest, wanted: Any, runs: Path, _listener: Any) -> Outcome:
        seen.extend([(source.source / "bug").exists(), (source.source / "mm/memory.c").read_text()])
        seen.extend([guest.initrd, source.config, str(wanted.bug), wanted.sight.events, runs])
        return Outcome(Mark.GOOD, "clean")

    monkeypatch.setattr(remote_trial, "try_tree", tried)
    assert remote_trial.main(folder) == 0
    assert seen == [
        *(False, "7\n", folder / "initrd", folder / "config"),
        *("rmap_underflow in zap_pte_range()", ("zap",), folder / "runs"),
    ]
    assert outcome(folder).mark is Mark.GOOD
    (folder / "change.patch").unlink()
    seen.clear()
    assert remote_trial.main(folder) == 0
    assert seen[0] is True  # the change is gone again


def test_a_pack_has_all_that_its_commits_need(folder: Path, tmp_path: Path) -> None:
    """Also of what lies beside the range: a branch that began before its good end."""
    tree = history(tmp_path / "linux")
    git(tree, "checkout", "--quiet", "--orphan", "side", "good")
    git(tree, "commit", "--quiet", "--message", "another beginning")
    (tree / "mm" / "side.c").write_text("int side;\n")
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", "beside")
    git(tree, "checkout", "--quiet", "bad")
    git(
        tree,
        "merge",
        "--quiet",
        "--strategy",
        "ours",
        "--allow-unrelated-histories",
        "--no-edit",
        "side",
    )
    git(tree, "tag", "--force", "bad")
    ends = made(tree, folder)
    commits = git(tree, "rev-list", "bad", "--not", "good").split()
    assert len(commits) == 10
    for commit in (*commits, *ends):
        with pack.worktree(folder / "pack", ends, commit) as work:
            theirs = git(tree, "ls-tree", "-r", "--name-only", commit).split()
            assert all((work / name).exists() for name in theirs)
    names = {path.name for path in (tmp_path / "cache" / "zaptrace" / "bisected").iterdir()}
    assert "pack" in names


def test_a_machine_that_lacks_something_says_so_and_judges_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(folder, history(tmp_path / "linux"), "bad", ends=["0" * 40])
    (folder / "pack").write_bytes(b"not a pack")
    assert remote_trial.main(folder) == 2
    assert "zaptrace: git index-pack" in capsys.readouterr().err
    assert not (folder / "outcome.json").exists()
