"""`git bisect run` as we drive it: real git, and a small script for the build and the boot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.bisect.toy import git, history, state
from zaptrace.model.errors import CannotTell
from zaptrace.runs.bisect import git_run
from zaptrace.runs.bisect.repo import Repo

STEP = ("sh", "-c", "test ! -e broken || exit 125; test ! -e bug")


def found(tree: Path, worktree: Path, step: Sequence[str] = STEP) -> tuple[str, ...]:
    """The subjects of the suspects."""
    git(tree, "worktree", "add", "--quiet", "--detach", str(worktree), "bad")
    repo = Repo(worktree)
    git_run.start(repo, repo.commit("good"), repo.commit("bad"))
    heard: list[str] = []
    suspects = git_run.run(repo, step, heard.append, dict(os.environ))
    assert heard
    return tuple(repo.subject(one).partition(" ")[2] for one in suspects)


def test_the_first_bad_commit_is_found_and_the_users_tree_untouched(tmp_path: Path) -> None:
    tree = history(tmp_path / "linux")
    before = state(tree)
    assert found(tree, tmp_path / "work") == ("commit 5",)
    git(tree, "worktree", "remove", "--force", str(tmp_path / "work"))
    assert state(tree) == before


def test_a_bisect_of_the_users_own_continues(tmp_path: Path) -> None:
    tree = history(tmp_path / "linux")
    git(tree, "bisect", "start", "bad", "good")
    log, head = git(tree, "bisect", "log"), git(tree, "rev-parse", "HEAD")
    assert found(tree, tmp_path / "work") == ("commit 5",)
    assert (git(tree, "bisect", "log"), git(tree, "rev-parse", "HEAD")) == (log, head)


def test_a_skipped_commit_is_stepped_round(tmp_path: Path) -> None:
    tree = history(tmp_path / "linux", commits=11, bug_from=7, broken=5)
    assert found(tree, tmp_path / "work") == ("commit 7",)


def test_skipped_commits_in_front_of_the_bug_leave_several_suspects(tmp_path: Path) -> None:
    tree = history(tmp_path / "linux", bug_from=5, broken=4)
    assert found(tree, tmp_path / "work") == ("commit 5", "commit 4")


def test_a_status_above_127_stops_it_and_marks_nothing(tmp_path: Path) -> None:
    tree = history(tmp_path / "linux")
    with pytest.raises(CannotTell, match="git bisect stopped"):
        found(tree, tmp_path / "work", ("sh", "-c", "exit 130"))
    assert "git bisect good" not in git(tmp_path / "work", "bisect", "log")


DRIVER = """
import os, sys
from pathlib import Path
from zaptrace.runs.bisect import git_run
from zaptrace.runs.bisect.repo import Repo

repo = Repo(Path(sys.argv[1]))
git_run.start(repo, repo.commit("good"), repo.commit("bad"))
step = (sys.executable, "-c", sys.argv[2], sys.argv[3])
try:
    git_run.run(repo, step, print, dict(os.environ))
except KeyboardInterrupt:
    print("interrupted")
"""
SLOW_STEP = """
import os, signal, sys, time
def interrupt(*_): raise KeyboardInterrupt
signal.signal(signal.SIGTERM, interrupt)
try:
    open(sys.argv[1], "w").write(str(os.getpid()))
    for _ in range(600):  # a signal just before a sleep is heard after it
        time.sleep(0.1)
except KeyboardInterrupt:
    time.sleep(0.2)  # a guest is taken down
    open(sys.argv[1] + ".clean", "w").close()
    sys.exit(130)
"""


def test_an_interrupt_lets_the_step_clean_up_and_leaves_no_process(tmp_path: Path) -> None:
    tree, worktree, mark = history(tmp_path / "linux"), tmp_path / "work", tmp_path / "pid"
    git(tree, "worktree", "add", "--quiet", "--detach", str(worktree), "bad")
    argv = [sys.executable, "-c", DRIVER, str(worktree), SLOW_STEP, str(mark)]
    driver = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=60)
    assert "interrupted" in out
    assert Path(f"{mark}.clean").exists()
    assert not Path(f"/proc/{mark.read_text()}").exists()
    assert "git bisect skip" not in git(worktree, "bisect", "log")
