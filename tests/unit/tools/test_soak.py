"""`make soak` on two small tests: what is kept of each run, and that it continues after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import soak

TESTS = """\
import os, pathlib, time
here = pathlib.Path(__file__).parent
def test_fine():
    pass
def test_flaky():
    with (here / "runs").open("a") as file:
        file.write("run\\n")
    number = len((here / "runs").read_text().splitlines())
    while (here / "wait").exists() and number == 3:
        time.sleep(0.05)
    assert number != 2, "the second time"
"""


def begin(folder: Path, *more: str) -> subprocess.Popen[str]:
    argv = [
        sys.executable,
        "-c",
        "import sys; from tests import soak; soak.STATEMENTS = 10; sys.exit(soak.main())",
        "--runs",
        "3",
        "--output",
        str(folder / "soak.json"),
    ]
    return subprocess.Popen(
        [*argv, *more, "--", "-p", "no:cacheprovider", str(folder / "test_some.py")],
        stdout=subprocess.PIPE,
        text=True,
        # Plugins of pytest take longer to start than these tests.
        # One that is killed leaves its scratch folder.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TMPDIR": str(folder)},
        cwd=Path(soak.__file__).parents[1],
    )


def kept(folder: Path) -> list[dict[str, Any]]:
    path = folder / "soak.json"
    found: list[dict[str, Any]] = json.loads(path.read_bytes())["runs"] if path.exists() else []
    return found


def test_runs_are_kept_one_by_one_and_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "wait").touch()
    first = begin(tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "runs").exists() or len((tmp_path / "runs").read_text()) < 12:
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert [run["run"] for run in kept(tmp_path)] == [1, 2]

    (tmp_path / "wait").unlink()
    second = begin(tmp_path)
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 1  # one of the runs failed, though not of these
    assert "run 3 of 3, none: passed" in out and "run 2" not in out
    runs = kept(tmp_path)
    assert all(run["commit"] for run in runs)
    assert [(run["run"], run["load"], run["result"]) for run in runs] == [
        (1, "none", soak.PASSED),
        (2, "2 compile jobs", soak.FAILED),
        (3, "none", soak.PASSED),
    ]
    (cause,) = runs[1]["cause"]
    assert "test_flaky" in cause and "the second time" in cause
    assert runs[0]["cause"] == [] and all(run["seconds"] > 0 for run in runs)


def test_what_was_committed_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = {"tests": ["a"], "runs": [{"run": 1, "commit": "old", "result": soak.PASSED}]}
    monkeypatch.setattr(soak, "COMMITTED", tmp_path / "committed.json")
    (tmp_path / "committed.json").write_text(json.dumps(committed))

    assert soak._kept(tmp_path / "none.json", ["a"]) == committed
    assert soak._kept(tmp_path / "none.json", ["b"]) == {"tests": ["b"], "runs": []}


def test_six_of_ten_are_beside_compilers() -> None:
    assert len(soak.LOADED) == 6 and max(soak.LOADED) <= soak.RUNS


def test_a_run_that_failed_is_done_again_when_the_commit_is_another_one() -> None:
    runs = [
        {"run": number, "commit": "old", "result": result}
        for number, result in enumerate((soak.PASSED, soak.FAILED, soak.PASSED), start=1)
    ]
    assert soak._left(runs, 4, "old") == [4]
    assert soak._left(runs, 4, "new") == [2, 4]
    runs.append({"run": 2, "commit": "new", "result": soak.PASSED})
    assert soak._left(runs, 4, "newer") == [4]
