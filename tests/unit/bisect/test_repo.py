"""What a tree is refused for, before anything is built: real git throughout."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.bisect.toy import git, history
from zaptrace.model.errors import BadInput
from zaptrace.runs.bisect.repo import Repo


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return history(tmp_path / "linux")


def test_a_range_is_counted(tree: Path) -> None:
    repo = Repo.at(tree / "mm")
    assert repo.path == tree
    repo.check_clean()
    assert repo.check_range(repo.commit("good"), repo.commit("bad")) == 7


def test_a_folder_without_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not a git tree"):
        Repo.at(tmp_path)
    with pytest.raises(BadInput, match="is not a folder"):
        Repo.at(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a tree away needs root")
def test_a_tree_of_another_user_is_shown_how_git_works_in_it(tree: Path) -> None:
    os.chown(tree, 65534, 65534)
    os.chown(tree / ".git", 65534, 65534)
    with pytest.raises(BadInput, match="another user owns it") as error:
        Repo.at(tree)
    assert f"safe.directory {tree}" in (error.value.hint or "")


def test_a_dirty_tree_is_refused_and_the_file_named(tree: Path) -> None:
    (tree / "mm" / "memory.c").write_text("int x;\n")
    with pytest.raises(BadInput, match=r"is dirty: mm/memory\.c changed"):
        Repo(tree).check_clean()


def test_new_files_are_not_dirt(tree: Path) -> None:
    (tree / "notes").touch()
    Repo(tree).check_clean()


@pytest.mark.parametrize("name", ["v9.9", "--help", "bad:mm/memory.c", ""])
def test_an_unknown_revision_is_named(tree: Path, name: str) -> None:
    with pytest.raises(BadInput, match="has no revision"):
        Repo(tree).commit(name)


def test_ends_the_wrong_way_round_are_refused(tree: Path) -> None:
    repo = Repo(tree)
    with pytest.raises(BadInput, match="is not an ancestor") as error:
        repo.check_range(repo.commit("bad"), repo.commit("good"))
    assert repo.commit("good")[:12] in (error.value.hint or "")


def test_the_same_end_twice_is_no_range(tree: Path) -> None:
    repo = Repo(tree)
    with pytest.raises(BadInput, match="same commit"):
        repo.check_range(repo.commit("bad"), repo.commit("HEAD"))


def test_a_tree_shallower_than_the_range_is_shown_how_to_deepen_it(
    tree: Path, tmp_path: Path
) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=2", f"file://{tree}", str(shallow))
    good = git(tree, "rev-parse", "good")
    with pytest.raises(BadInput, match="has no revision") as error:
        Repo(shallow).commit(good)
    assert "fetch --unshallow" in (error.value.hint or "")
    git(shallow, "fetch", "--quiet", "--depth=1", "origin", "tag", "good")
    repo = Repo(shallow)
    with pytest.raises(BadInput, match="shallower than the range") as error:
        repo.check_range(repo.commit("good"), repo.commit("HEAD"))
    assert "fetch --unshallow" in (error.value.hint or "")


def test_another_repository_in_the_environment_is_not_asked(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As inside a git hook, or a `git bisect run` of the user's own."""
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert Repo.at(tree).path == tree
