"""A row's process: its lines told as they come, ended when it takes too long; and what it left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

CHECKOUT = Path(__file__).parents[2]
LOOK_SECONDS = 0.2
LEFT = (".log", ".json", ".txt", ".zap")
"""What is kept of the files that steps leave: no vmcores, no programs."""
MOST_LEFT = 4 << 20
"""Bytes of one file.  Of a log the end is kept, of others all or nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row.

    Attributes:
        done: step -> result, reason and seconds; what it came to.
        why: why the rest has failed.
        left: path -> contents: `row.log` is all that it printed.
    """

    done: dict[str, dict[str, Any]]
    why: str
    left: dict[str, bytes] = field(default_factory=dict)


def run(
    words: Sequence[str],
    out: Path,
    seconds: float,
    tell: Callable[[str], object],
    wanted: Callable[[], bool] = lambda: True,
    place: Path | None = None,
) -> Outcome:
    """Run a row to its end, in a process that dies with the thread that calls.

    Args:
        words: for Python; the row's file and an empty folder for what it leaves are added.
        out: the row's file, which the process writes after each step.
        tell: is called with each line that is printed.
        wanted: is asked now and then; the row is ended when it says no.
        place: where the files are until the row has ended, if not in /tmp.
    """
    with tempfile.TemporaryDirectory(prefix="zaptrace-matrix-", dir=place) as scratch:
        folder, log = Path(scratch) / "left", Path(scratch) / "row.log"
        folder.mkdir()
        argv = [sys.executable, *words, str(out), str(folder)]
        with log.open("wb") as written, log.open("rb") as read, _tied(argv, written) as process:
            why = _watched(process, read, seconds, tell, wanted)
        return Outcome(told(out), why, dict(_left(folder)) | {"row.log": _end(log)})


def told(out: Path) -> dict[str, dict[str, Any]]:
    """What a row's file says; nothing when there is none."""
    try:
        done: dict[str, dict[str, Any]] = json.loads(out.read_bytes())
    except FileNotFoundError:
        return {}
    return done


@contextlib.contextmanager
def _tied(argv: Sequence[str], log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this checkout that does not outlive us, nor the block."""
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *argv],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its guests die with it
        process.wait()


def _watched(
    process: subprocess.Popen[bytes],
    log: IO[bytes],
    seconds: float,
    tell: Callable[[str], object],
    wanted: Callable[[], bool],
) -> str:
    """Why it has ended."""
    deadline = time.monotonic() + seconds
    rest = b""
    while True:
        ended = process.poll()
        *lines, rest = (rest + log.read()).split(b"\n")
        for line in lines:
            tell(line.decode(errors="replace"))
        if ended is not None:
            return f"the row ended with status {ended}"
        if time.monotonic() > deadline:
            return f"hung: the row's {seconds:g} s were over"
        if not wanted():
            return "the row was given up"
        time.sleep(LOOK_SECONDS)


def _left(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in LEFT and path.is_file():
            data = _end(path)
            if path.suffix == ".log" or len(data) == path.stat().st_size:
                yield str(path.relative_to(folder)), data


def _end(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - MOST_LEFT))
        return file.read(MOST_LEFT)
