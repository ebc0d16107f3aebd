"""Tests whose guest was lost are reported apart from tests that failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TESTS = """\
import pytest
from zaptrace.model.errors import GuestLost

@pytest.fixture
def guest():
    raise GuestLost("the guest hung")

def test_in_its_call(): raise GuestLost("QEMU ended by itself")
def test_in_its_setup(guest): pass
def test_that_expects_it():
    with pytest.raises(GuestLost):
        raise GuestLost("as it should")
def test_wrong(): assert 1 == 2
"""


def test_every_guest_test_bears_its_marker() -> None:
    files = sorted((ROOT / "tests" / "guest").glob("test_*.py"))
    assert files
    assert [path.name for path in files if "pytest.mark.guest" not in path.read_text()] == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_lost_guest_is_no_ordinary_failure(workers: int, tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    argv = ["-m", "pytest", "-v", "-p", "tests.guest.lost", "-p", "no:cacheprovider"]
    argv += ["-p", "xdist"]
    argv += ["--numprocesses", str(workers)]
    done = subprocess.run(
        [sys.executable, *argv, "--rootdir", str(tmp_path), str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        # Plugins of pytest take longer to start than these tests.
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=ROOT,
    )
    assert done.returncode == 1
    for name, word in (
        ("in_its_call", "LOST GUEST"),
        ("in_its_setup", "LOST GUEST"),
        ("that_expects_it", "PASSED"),
        ("wrong", "FAILED"),
    ):
        told = [line for line in done.stdout.splitlines() if f"::test_{name}" in line]
        assert any(word in line for line in told), told
    assert "2 of the failures: the guest died or did not answer" in done.stdout
    assert "2 failed, 1 passed, 1 error" in done.stdout
    assert "QEMU ended by itself" in done.stdout  # the traceback
