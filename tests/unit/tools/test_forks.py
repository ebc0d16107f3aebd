"""`pytest --forks N`: each test is reported once, whatever becomes of the processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import gone

ROOT = Path(__file__).parents[3]
TESTS = """\
import os, pathlib, pytest, warnings
here = pathlib.Path(__file__).parent

@pytest.fixture(scope="module")
def shared():
    with (here / "made").open("a") as file:
        file.write(f"{__name__} {os.getpid()}\\n")
    yield os.getpid()
    (here / f"down-{__name__}").touch()

def test_one(shared, tmp_path): assert shared == os.getpid()
def test_two(shared): assert shared == os.getpid()
def test_bad(tmp_path):
    print("said by it")
    assert {"a": 1} == {"a": 2}
def test_warns(): warnings.warn("careful")
@pytest.mark.skipif(True, reason="not here")
def test_skipped(): pass
"""
ENDS = """\
import os
def test_before(): pass
def test_ends_its_process(): os._exit(3)
def test_ends_it_too(): os._exit(0)
def test_after(): pass
"""


def run(folder: Path, *options: str) -> tuple[int, str]:
    words = ("-m", "pytest", "-p", "tests.forks", "-p", "no:cacheprovider", "-rA", "--forks", "2")
    done = subprocess.run(
        [sys.executable, *words, *options, "--rootdir", str(folder), str(folder)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        # Plugins of pytest take longer to start than these tests.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        timeout=120,
    )
    return done.returncode, done.stdout


def test_all_is_reported_once_and_a_file_shares_what_it_sets_up(tmp_path: Path) -> None:
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / name).write_text(TESTS)
    (tmp_path / "test_ends.py").write_text(ENDS)
    status, said = run(tmp_path)
    assert status == 1
    assert "4 failed, 8 passed, 2 skipped, 2 warnings" in said
    results = re.findall(r"^([A-Z]+) (?:\[\d\] )?\S*/(test_\w+\.py\S*)", said, re.M)
    assert len(results) == len({*results}) == 14
    assert ("PASSED", "test_ends.py::test_after") in results
    assert "its process ended with 3" in said and "its process ended with 0" in said
    assert "said by it" in said and "Differing items:" in said
    assert said.count("UserWarning: careful") == 2
    made = (tmp_path / "made").read_text().split()
    assert sorted(made[::2]) == ["test_a", "test_b"]
    assert len([*tmp_path.glob("down-*")]) == 2


@pytest.mark.parametrize("stop", [[], ["-x"]])
def test_the_first_failure_may_be_the_last(tmp_path: Path, stop: list[str]) -> None:
    (tmp_path / "test_bad.py").write_text("def test_bad(): assert 0\n")
    (tmp_path / "test_long.py").write_text(
        "import pathlib, time\n"
        "def test_long():\n"
        "    deadline = time.monotonic() + 60\n"
        f"    while {bool(stop)} and time.monotonic() < deadline: time.sleep(0.01)\n"
    )
    status, said = run(tmp_path, *stop)
    assert status == 1
    assert ("1 failed, 1 passed" in said) is not bool(stop)
    assert ("stopping after 1 failures" in said) is bool(stop)


def test_none_outlives_the_process_that_forked_them(tmp_path: Path) -> None:
    """One that writes to a pipe which nobody reads would wait there for ever."""
    (tmp_path / "test_much.py").write_text(
        "import os, pathlib, pytest\n"
        "@pytest.mark.parametrize('number', range(50))\n"
        "def test_much(number):\n"
        f"    pathlib.Path({str(tmp_path / 'pid')!r}).write_text(f'{{os.getpid()}} ')\n"
        "    os.kill(os.getppid(), 9) if number == 1 else print('much' * 30_000)\n"
    )
    assert run(tmp_path)[0] < 0
    assert gone(int((tmp_path / "pid").read_text()))
