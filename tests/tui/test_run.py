"""`zaptrace replay RUN` at a terminal: what it says of the run's audit."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.tui.audits import real_audit
from tests.tui.scripted import founding_bug
from zaptrace.capture.writer import write
from zaptrace.runs.folder import RunFacts, RunFolder

CONTROL = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
SECONDS = 120.0


class Terminal:
    """A terminal of 80 by 24 that a command runs on."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def until(self, *words: str) -> None:
        """Read until all of the words have been drawn."""
        drawn, deadline = b"", time.monotonic() + SECONDS
        while not all(word in _text(drawn) for word in words):
            assert time.monotonic() < deadline, f"not drawn: {words} in {_text(drawn)[-3000:]}"
            if select.select([self._fd], [], [], 0.2)[0]:
                drawn += os.read(self._fd, 65536)


def _text(raw: bytes) -> str:
    return CONTROL.sub(b"", raw).decode(errors="replace")


@contextmanager
def replayed(run: RunFolder) -> Iterator[tuple[Terminal, subprocess.Popen[bytes]]]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    argv = [sys.executable, "-m", "zaptrace", "replay", str(run.path)]
    child = subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    try:
        yield Terminal(ours), child
    finally:
        child.kill()
        child.wait()
        os.close(ours)


def run_folder(path: Path) -> RunFolder:
    run = RunFolder.create("s390x", path)
    run.save_facts(RunFacts("s390x", "image", "vmlinux", "initrd", None, "zaptrace repro s390x"))
    write(run.capture, founding_bug())
    return run


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ("audit", ("[4 Audit (3)]", "✖ mapcount underflow  0x5ea", "stale/41 +1")),
        ("dump", ("[4 Audit]", "no audit yet: zaptrace explain ")),
        ("nothing", ("[4 Audit]", "no audit: this recording has no dump")),
    ],
)
def test_a_run_is_replayed_with_its_audit(
    left: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    run = run_folder(tmp_path / "run")
    if left == "audit":
        run.save_audit(real_audit())
    elif left == "dump":
        run.vmcore.touch()
    with replayed(run) as (terminal, child):
        terminal.until(f"{len(founding_bug().records)} events", "4 Audit")
        terminal.type("4")
        terminal.until(*words)
        terminal.type("q")
        assert child.wait(SECONDS) == 1  # there is a bug in it
