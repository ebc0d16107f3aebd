"""`zaptrace bisect` from the outside, as far as it goes without a guest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.bisect.toy import git, history, state


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return history(tmp_path / "linux", commits=3, bug_from=1)


def bisect(tree: Path, *args: str) -> subprocess.CompletedProcess[str]:
    home = tree.parent / "home"
    return subprocess.run(
        [sys.executable, "-m", "zaptrace", "bisect", *args],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "XDG_STATE_HOME": str(home), "XDG_CACHE_HOME": str(home)},
    )


def start(tree: Path, *args: str) -> subprocess.CompletedProcess[str]:
    ends = ("--good", "good", "--bad", "bad")
    return bisect(tree, "start", "--tree", str(tree), *ends, *args)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--arch", "vax"), "no guest architecture is called 'vax'"),
        (("--good", "v9"), "has no revision 'v9'"),
        (("--config", "/nowhere"), "/nowhere is not a file"),
        (("--initrd", "/nowhere"), "/nowhere is not a file"),
        (("--good", "bad", "--bad", "good"), "is not an ancestor"),
        (("--repeat", "0"), "'0' is not a whole number above 0"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_built(
    tree: Path, args: tuple[str, ...], words: str
) -> None:
    before = state(tree)
    done = start(tree, *args)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "Compile" not in done.stderr
    assert state(tree) == before


def test_a_dirty_tree_is_refused(tree: Path) -> None:
    (tree / "mm" / "memory.c").write_text("int x;\n")
    done = start(tree)
    assert done.returncode == 2
    assert "is dirty: mm/memory.c changed" in done.stderr


def test_a_bad_revision_that_does_not_build_is_no_verdict(tree: Path) -> None:
    (tree / "broken").touch()
    git(tree, "add", "broken")
    git(tree, "commit", "--quiet", "--message", "break it")
    done = start(tree, "--bad", "HEAD")
    assert done.returncode == 125, done.stderr
    assert "the bad revision cannot be judged: it does not build: mm/memory.c:7:1" in done.stderr


def test_a_step_never_tells_git_that_a_commit_is_bad_by_mistake(tree: Path) -> None:
    """Git takes 1 to 124 for bad: neither our errors nor argparse's may be one of them."""
    for args in (
        ("--typo",),
        ("--arch", "vax"),
        ("--bug", "oops"),
        ("--tree", str(tree.parent)),
        ("--session", str(tree.parent)),
    ):
        done = bisect(tree, "step", "--tree", str(tree), *args)
        assert done.returncode == 130, (args, done.stderr)
        assert "Traceback" not in done.stderr


def test_a_step_skips_what_does_not_build(tree: Path) -> None:
    (tree / "broken").touch()
    done = bisect(tree, "step", "--tree", str(tree))
    assert done.returncode == 125
    assert "skip: it does not build" in done.stdout
