"""A task's process: its lines as they come, ended when it takes too long; and what it left."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).parents[3]
FOLDER = "@FOLDER@"
LOG = "log"
REFUSED = "was refused"
"""What `Outcome.why` begins with when no other task of ours will be done there, either."""
LOOK_SECONDS = 0.2
MOST_LEFT = 4 << 20
MOST_FILES = 256


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker does: a Python program that leaves files.

    Attributes:
        words: for Python; FOLDER in them stands for the task's own folder.
        seconds: what it may take.
        kept: patterns (fnmatch) of the paths in that folder that come back.
        given: path in the folder -> contents, there before it begins.
        lent: path in the folder -> SHA-256 of a file that was lent to the pool, linked there.
        most_bytes: of one file that comes back: of a log the end does, of others all or nothing.
    """

    words: Sequence[str]
    seconds: float
    kept: tuple[str, ...]
    given: Mapping[str, bytes] = field(default_factory=dict)
    lent: Mapping[str, str] = field(default_factory=dict)
    most_bytes: int = MOST_LEFT


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended.

    Attributes:
        status: the program's exit status; None when it did not get that far.
        why: how it ended, for a person.
        left: path -> contents; LOG is all that it printed.
    """

    status: int | None
    why: str
    left: dict[str, bytes] = field(default_factory=dict)


def run(
    task: Task,
    tell: Callable[[str], object],
    wanted: Callable[[], bool] = lambda: True,
    place: Path | None = None,
    files: Callable[[str], Path] = Path,
) -> Outcome:
    """Run a task to its end, in a process that dies with the thread that calls.

    Args:
        tell: is called with each line that is printed.
        wanted: is asked now and then; the task is ended when it says no.
        place: where its folder is until it has ended, if not in /tmp.
        files: where a lent file is, by its SHA-256.
    """
    with tempfile.TemporaryDirectory(prefix="zaptrace-task-", dir=place) as scratch:
        folder, log = Path(scratch) / "folder", Path(scratch) / LOG
        folder.mkdir()
        for name, data in task.given.items():
            (folder / name).write_bytes(data)
        for name, digest in task.lent.items():
            (folder / name).symlink_to(files(digest))
        argv = [sys.executable, *(word.replace(FOLDER, str(folder)) for word in task.words)]
        with log.open("wb") as written, log.open("rb") as read, _tied(argv, written) as process:
            status, why = _watched(process, read, task.seconds, tell, wanted)
        left = dict(_left(folder, task))
        return Outcome(status, why, left | {LOG: _end(log, task.most_bytes)})


@contextlib.contextmanager
def _tied(argv: Sequence[str], log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process of this checkout that does not outlive us, nor the block."""
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
) -> tuple[int | None, str]:
    """Return a task's exit status, and why it ended."""
    deadline = time.monotonic() + seconds
    rest = b""
    while True:
        ended = process.poll()
        *lines, rest = (rest + log.read()).split(b"\n")
        for line in lines:
            tell(line.decode(errors="replace"))
        if ended is not None:
            return ended, f"ended with status {ended}"
        if time.monotonic() > deadline:
            return None, f"hung: its {seconds:g} s were over"
        if not wanted():
            return None, "was given up"
        time.sleep(LOOK_SECONDS)


def _left(folder: Path, task: Task) -> Iterator[tuple[str, bytes]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    chosen = [
        path
        for path in files
        if any(fnmatch.fnmatch(str(path.relative_to(folder)), one) for one in task.kept)
    ]
    for path in chosen[:MOST_FILES]:
        data = _end(path, task.most_bytes)
        if path.suffix == ".log" or len(data) == path.stat().st_size:
            yield str(path.relative_to(folder)), data


def _end(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - most))
        return file.read(most)
