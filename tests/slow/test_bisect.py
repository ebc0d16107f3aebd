"""The manual bisect of the founding report, as users now run it: one command, from the outside.

A kernel is built nine times: a quarter of an hour on two idle cores.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.slow.history import BROKEN, GUILTY, git, make
from zaptrace.report.ci import Case, ktap

pytestmark = pytest.mark.slow
LONG = 7200.0  # s; this machine may have other work


class Bisect:
    """`zaptrace bisect start` on the history."""

    def __init__(self, tree: Path, home: Path) -> None:
        self.tree = tree
        self._home = home

    def begin(self) -> subprocess.Popen[str]:
        ends = ("--tree", str(self.tree), "--good", "good", "--bad", "bad", "--arch", "s390x")
        return subprocess.Popen(
            [sys.executable, "-m", "zaptrace", "bisect", "start", *ends, "--json"],
            stdout=subprocess.PIPE,
            stderr=(self._home / "stderr").open("a"),
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(self._home)},
        )

    def said(self) -> str:
        return (self._home / "stderr").read_text()

    def outcomes(self) -> dict[str, Any]:
        """What is known so far."""
        found = list(self._home.glob("zaptrace/bisects/*/session.json"))
        return dict(json.loads(found[0].read_text())["outcomes"]) if found else {}

    def processes(self) -> list[str]:
        """What works on it."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if str(self.tree) in words or str(self._home) in words:
                found.append(words)
        return found


@pytest.fixture(scope="module")
def bisect(tmp_path_factory: pytest.TempPathFactory) -> Bisect:
    folder = tmp_path_factory.mktemp("bisect")
    make(folder / "linux")
    (folder / "home").mkdir()
    return Bisect(folder / "linux", folder / "home")


def state(tree: Path) -> tuple[str, ...]:
    asked = ("rev-parse HEAD", "status --porcelain --ignored", "for-each-ref", "worktree list")
    return tuple(git(tree, *question.split()) for question in asked)


def test_it_names_the_guilty_commit_also_after_an_interruption(bisect: Bisect) -> None:
    before = state(bisect.tree)
    first = bisect.begin()
    deadline = time.monotonic() + LONG
    while len(bisect.outcomes()) < 2:
        assert first.poll() is None, bisect.said()
        assert time.monotonic() < deadline
        time.sleep(1)
    time.sleep(20)  # into the build of the third
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert first.returncode == 125
    assert bisect.processes() == []
    known = bisect.outcomes()

    second = bisect.begin()
    out, _ = second.communicate(timeout=LONG)
    assert second.returncode == 1, bisect.said()
    found = json.loads(out)
    assert found["guilty"]["cited"].endswith(GUILTY)
    assert found["guilty"]["author"].startswith("Ryan Example <ryan@example.org>")
    assert found["bug"] == {
        "kind": "freed_before_rmap_removed",
        "function": "try_zap_anon_pte_range",
    }
    assert found["revert"]["verdict"] == "heals"
    skipped = [one["cited"] for one in found["steps"] if one["mark"] == "skip"]
    assert [one.partition(" ")[2] for one in skipped] == [BROKEN]
    assert found["confidence"]["value"] > 0.9
    assert found["log"][-1].startswith("# first bad commit: ")
    assert {one["commit"] for one in found["steps"]} >= set(known)
    assert state(bisect.tree) == before


def test_the_kernels_own_parser_reads_our_ktap(
    bisect: Bisect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tools/testing/kunit/kunit_parser.py, as `kunit.py parse` uses it."""
    monkeypatch.syspath_prepend(bisect.tree / "tools" / "testing" / "kunit")
    parser = importlib.import_module("kunit_parser")
    cases = [
        Case("boot_1", 1.0),
        Case("boot_2", 1.0, "rmap_underflow", message="pfn 1", details="not ok\ntwo # three"),
        Case("boot_3", 1.0, error="the guest hung"),
    ]
    (suite,) = parser.parse_run_tests(ktap("zaptrace.s390x", cases).splitlines()).subtests
    assert [(one.name, one.status.name) for one in suite.subtests] == [
        ("boot_1", "SUCCESS"),
        ("boot_2", "FAILURE"),
        ("boot_3", "FAILURE"),
    ]
