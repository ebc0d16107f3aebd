"""The host's programs: missing, failing, left running."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from vm import host
from zaptrace.model.errors import CannotTell, Missing

PATIENCE = 60.0


def test_a_missing_program_is_named() -> None:
    with pytest.raises(Missing, match="no-such-program is not installed"):
        host.output("no-such-program")


def test_a_failure_carries_the_programs_own_words() -> None:
    with pytest.raises(CannotTell, match="no such thing"):
        host.output("sh", "-c", "echo no such thing >&2; exit 3")


def test_a_users_programs_are_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's users have no /usr/sbin in their PATH."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert host.output("sh", "-c", "command -v mke2fs").strip().endswith("sbin/mke2fs")
    assert host.run("mke2fs", "-V").returncode == 0


def test_a_program_that_hangs_is_ended() -> None:
    with pytest.raises(CannotTell, match=r"did not end within 0\.2 s"):
        host.run("sleep", "60", seconds=0.2)


def test_lines_come_whole_and_the_last_needs_no_end() -> None:
    with host.lines_of(["sh", "-c", "printf 'a\\n\\nb'; sleep 0.3; printf 'c\\nd'"]) as child:
        assert list(host.lines(child)) == ["a", "", "bc", "d"]
    with host.lines_of(["true"]) as child:
        assert list(host.lines(child)) == []


def test_children_of_a_left_block_are_gone() -> None:
    """Also grandchildren: make's compilers."""
    script = "(while :; do sleep 0.05; done) & echo started; wait"
    with pytest.raises(KeyboardInterrupt), host.lines_of(["sh", "-c", script]) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"started\n"
        os.killpg(child.pid, 0)  # its group is there
        raise KeyboardInterrupt
    deadline = time.monotonic() + PATIENCE
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(child.pid, 0)
            time.sleep(0.05)


def test_an_interrupt_while_a_program_starts_leaves_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A busy machine runs the program before it returns from its start."""
    path = tmp_path / "pid"

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            deadline = time.monotonic() + PATIENCE
            while not (path.exists() and path.read_text()):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    script = f"sleep 1000 & echo $$ >{path}; wait"
    with pytest.raises(KeyboardInterrupt), host.lines_of(["sh", "-c", script]):
        pytest.fail("it was not interrupted")
    deadline = time.monotonic() + PATIENCE
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(int(path.read_text()), 0)
            time.sleep(0.05)


def test_a_left_program_may_clean_up_when_it_is_given_time(tmp_path: Path) -> None:
    """As make does: it removes the objects that are half written."""
    half = tmp_path / "half.o"
    script = f"trap 'rm {half}; exit 1' TERM; touch {half}; echo started; "
    script += "sleep 1000 >/dev/null 2>&1 & wait"
    argv = ["sh", "-c", script]
    with pytest.raises(KeyboardInterrupt), host.lines_of(argv, grace=PATIENCE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"started\n"
        raise KeyboardInterrupt
    assert not half.exists()


def test_one_that_will_not_go_is_killed_all_the_same() -> None:
    script = "trap '' TERM; echo started; while :; do sleep 0.1; done"
    started = time.monotonic()
    with host.lines_of(["sh", "-c", script], grace=0.3) as child:
        assert child.stdout is not None
        child.stdout.readline()
    assert child.returncode == -9
    assert time.monotonic() - started < PATIENCE
