"""Boots, and a bisect, on two real workers of this machine, which are killed in between.

In the bisect a small script builds and boots: `tests/slow` does it with kernels.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster, gone
from tests.guest.sharing import share_out
from tests.unit.bisect.toy import git, history, state
from zaptrace.model.progress import ignore
from zaptrace.runs.bisect import elsewhere
from zaptrace.runs.bisect.drive import Request, bisect
from zaptrace.runs.bisect.repo import Repo
from zaptrace.runs.bisect.session import open_session
from zaptrace.runs.bisect.trial import Guest, Mark
from zaptrace.runs.cluster.process import FOLDER

pytestmark = pytest.mark.guest
BOOTS = 8
"""`make test-slow` makes 40."""

ORACLE = """
import json, os, pathlib, signal, sys, time
from zaptrace.runs.bisect import pack
folder, log = map(pathlib.Path, sys.argv[1:])
asked = json.loads((folder / "trial.json").read_bytes())
with pack.worktree(folder / "pack", asked["ends"], asked["commit"]) as tree:
    number = int((tree / "mm" / "memory.c").read_text())
    reverted = (folder / "change.patch").exists()
    with log.open("a") as file:
        print(number, os.getppid(), os.getpid(), tree, file=file, flush=True)
    if (log.parent / f"kill-{number}").exists():
        (log.parent / f"kill-{number}").unlink()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    while (log.parent / f"wait-{number}").exists():
        time.sleep(0.05)
    other, deadline = log.parent / f"meet-{number}", time.monotonic() + 60
    while other.exists() and f"\\n{other.read_text()} " not in log.read_text():
        assert time.monotonic() < deadline, "it is alone"
        time.sleep(0.05)
    bad = (tree / "bug").exists() and not reverted
    mark = "skip" if (tree / "broken").exists() else "bad" if bad else "good"
run = folder / "runs" / "boot-1"
run.mkdir(parents=True)
(run / "verdict.json").write_text("{}")
(run / "vmcore").write_text("large")
bug = {"kind": "rmap_underflow", "function": "zap_pte_range"} if mark == "bad" else {}
outcome = {"mark": mark, "why": mark, "boots": 3, "hits": 3 if bug else 0, "run": str(run), **bug}
(folder / "outcome.json").write_text(json.dumps({"sight": None, **outcome}))
"""
CLIENT = """
import sys
from pathlib import Path
from tests.guest.test_cluster import found
tree, scheduler, log = sys.argv[1:]
found(Path(tree), scheduler, Path(log))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def dask(home: Path) -> Iterator[Cluster]:
    (home / "cluster").mkdir()
    made = Cluster(home / "cluster")
    yield made
    made.close()


def found(tree: Path, scheduler: str, log: Path) -> dict[str, Any]:
    """Bisect the toy with the oracle."""
    elsewhere.WORDS = ("-c", ORACLE, FOLDER, str(log))
    request = Request(tree, "good", "bad", "s390x", None, Guest())
    return bisect(request, ignore, elsewhere.Elsewhere(scheduler, lambda line: None))


def tried(log: Path) -> list[list[str]]:
    """Each trial: the commit's number, its worker, its own pid, the work tree."""
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def test_two_at_once_with_skips_a_lost_worker_and_a_killed_client(
    home: Path, dask: Cluster
) -> None:
    tree = history(home / "linux", commits=28, bug_from=17, broken=16)
    before, log = state(tree), home / "tried"
    (home / "kill-18").touch()  # of the first round 9 and 18
    (home / "wait-16").touch()
    argv = [sys.executable, "-c", CLIENT, str(tree), dask.address, str(log)]
    client = subprocess.Popen(argv)
    deadline = time.monotonic() + 120
    while not any(one[0] == "16" for one in tried(log)):
        assert client.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    client.kill()
    client.wait()
    begun = [int(one[2]) for one in tried(log) if one[0] == "16"]
    assert all(gone(pid) for pid in begun)  # its client is gone
    (home / "wait-16").unlink()
    known = json.loads(next(home.glob("state/zaptrace/bisects/*/session.json")).read_text())

    told = found(tree, dask.address, log)
    assert [one["cited"].partition(" ")[2] for one in told["suspects"]] == [
        "commit 17",
        "commit 16",
    ]
    assert {one["commit"] for one in told["steps"]} >= set(known["outcomes"])
    skipped = [one["cited"] for one in told["steps"] if one["mark"] == "skip"]
    assert [one.partition(" ")[2] for one in skipped] == ["commit 16"]
    assert any(line.startswith("git bisect skip") for line in told["log"])
    runs = [Path(one["run"]) for one in told["steps"] if one["mark"] == "bad"]
    assert runs and all([path.name for path in run.iterdir()] == ["verdict.json"] for run in runs)
    numbers = [one[0] for one in tried(log)]
    assert numbers.count("18") == 2 and numbers.count("16") == 2  # lost, and left
    assert len(numbers) == len({*numbers}) + 2
    assert state(tree) == before


def test_the_rounds_fall_and_the_revert_is_tried(home: Path, dask: Cluster) -> None:
    tree, log = history(home / "linux", commits=28, bug_from=17), home / "tried"
    dask.await_workers()
    (home / "meet-9").write_text("18")  # the first round: at once, however fast one is
    (home / "meet-18").write_text("9")
    told = found(tree, dask.address, log)
    assert told["guilty"]["cited"].endswith(" commit 17")
    numbers = [int(one[0]) for one in tried(log)]
    assert numbers[:2] == [27, 0] and {*numbers[2:4]} == {9, 18}  # the ends, the first round
    # log3(27) = 3 rounds of two, where halving takes 5.
    assert len(numbers[2:]) <= 6
    assert len({one[3] for one in tried(log)}) == 2  # a work tree for each worker
    # All of the toy's commits change the same line.
    assert told["revert"]["verdict"] == "does not revert"


def test_a_change_on_top_of_a_commit_is_tried_with_it(home: Path, dask: Cluster) -> None:
    tree, log = history(home / "linux"), home / "tried"
    elsewhere.WORDS = ("-c", ORACLE, FOLDER, str(log))
    work = Repo(tree)
    session = open_session(tree, work.commit("good"), work.commit("bad"), "s390x", Guest(), None)
    trials = elsewhere.Elsewhere(dask.address, lambda line: None)
    assert trials.commit(work, session, session.bad, ignore).mark is Mark.BAD
    git(tree, "rm", "--quiet", "bug")
    (tree / "mm" / "new.c").write_text("int new;\n\n")
    git(tree, "add", "mm/new.c")
    assert trials.changed(work, session, session.runs("changed"), ignore).mark is Mark.GOOD
    git(tree, "reset", "--quiet", "--hard")
    assert trials.commit(work, session, session.bad, ignore).mark is Mark.BAD


def test_boots_are_shared_out_and_a_lost_workers_is_made_again(tmp_path: Path) -> None:
    share_out(tmp_path, BOOTS)
