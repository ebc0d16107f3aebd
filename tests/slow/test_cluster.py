"""Forty boots, and the bisect of `test_bisect.py`, on two workers of this machine: workers are
killed inside a build and inside a boot, and so is the client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.guest.sharing import share_out
from tests.slow.history import BROKEN, GUILTY, make

pytestmark = pytest.mark.slow
LONG = 7200.0  # s; this machine may have other work
COMPILER = "cc1"
GUEST = "qemu-system"
MOST_TRIED = 2 + 3 * 2
"""The ends, and log3(10) = 3 rounds of two, where halving takes 4."""


def test_forty_boots_with_a_worker_lost(tmp_path: Path) -> None:
    share_out(tmp_path, 40)


def test_a_bisect_that_loses_two_workers_and_its_client(tmp_path: Path) -> None:
    tree, home, folder = tmp_path / "linux", tmp_path / "home", tmp_path / "cluster"
    make(tree)
    folder.mkdir()
    dask = Cluster(folder, {"XDG_STATE_HOME": str(home)})
    try:
        client = begin(tree, home, dask.address)
        lose(dask, COMPILER, "three", client)
        lose(dask, GUEST, "four", client)
        wait_for(lambda: len(outcomes(home)) >= 3, client)
        client.kill()
        client.communicate()
        known = outcomes(home)
        out, _ = begin(tree, home, dask.address).communicate(timeout=LONG)
    finally:
        dask.close()
    found = json.loads(out)
    assert found["guilty"]["cited"].endswith(GUILTY)
    assert found["bug"]["kind"] == "freed_before_rmap_removed"
    assert found["revert"]["verdict"] == "heals"
    skipped = [one["cited"] for one in found["steps"] if one["mark"] == "skip"]
    assert [one.partition(" ")[2] for one in skipped] == [BROKEN]
    tried = {one["commit"]: one["mark"] for one in found["steps"]}
    assert {commit: tried[commit] for commit in known} == {
        commit: outcome["mark"] for commit, outcome in known.items()
    }
    assert len(tried) <= MOST_TRIED + len(skipped)


def begin(tree: Path, home: Path, scheduler: str) -> subprocess.Popen[str]:
    ends = ("--tree", str(tree), "--good", "good", "--bad", "bad", "--arch", "s390x")
    argv = [sys.executable, "-m", "zaptrace", "bisect", "start", *ends]
    argv += ["--scheduler", scheduler, "--json"]
    env = {**os.environ, "XDG_STATE_HOME": str(home)}
    errors = (tree.parent / "stderr").open("a")
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=errors, text=True, env=env)


def outcomes(home: Path) -> dict[str, Any]:
    """What is known so far."""
    found = list(home.glob("zaptrace/bisects/*/session.json"))
    return dict(json.loads(found[0].read_text())["outcomes"]) if found else {}


def lose(dask: Cluster, program: str, next_one: str, client: subprocess.Popen[str]) -> None:
    """Kill the worker that runs a program first, and start another one for it."""
    lost = ""

    def runs() -> bool:
        nonlocal lost
        named = [one for one in dask.workers() if program_below(dask.processes[one].pid, program)]
        lost = named[0] if named else ""
        return bool(lost)

    wait_for(runs, client)
    killed = dask.processes.pop(lost)
    killed.kill()
    killed.wait()
    dask.start_worker(next_one)


def wait_for(holds: Callable[[], bool], client: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LONG
    while not holds():
        assert client.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def program_below(pid: int, program: str) -> bool:
    """Whether a process has a descendant of that name."""
    names: dict[int, str] = {}
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            before, _, after = path.read_text().rpartition(") ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        child = int(path.parent.name)
        names[child] = before.partition("(")[2]
        children.setdefault(int(after.split()[1]), []).append(child)
    waiting = [pid]
    while waiting:
        found = children.get(waiting.pop(), [])
        if any(names[child].startswith(program) for child in found):
            return True
        waiting += found
    return False
