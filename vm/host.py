"""Programs of the host: run to their end, or ended with us."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zaptrace.model.errors import CannotTell, Missing

SECONDS = 600.0
_LOOK_SECONDS = 0.2
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
SBIN = "/usr/sbin:/sbin"
"""Debian's users do not have these in their PATH, and mke2fs is there."""


def run(
    *argv: str, cwd: Path | None = None, stdin: bytes = b"", seconds: float = SECONDS
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, in the C locale, with its output captured.

    Raises:
        Missing: it is not installed.
        CannotTell: it took too long, and was killed.
    """
    try:
        return subprocess.run(
            argv,
            check=False,
            input=stdin,
            capture_output=True,
            timeout=seconds,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:{SBIN}"},
        )
    except FileNotFoundError:
        raise Missing(f"{argv[0]} is not installed", "make setup") from None
    except subprocess.TimeoutExpired:
        raise CannotTell(f"{argv[0]} did not end within {seconds:g} s") from None


def output(*argv: str, cwd: Path | None = None, stdin: bytes = b"") -> str:
    """Return what a program prints.

    Raises:
        Missing: it is not installed.
        CannotTell: it failed; the message holds its last words.
    """
    done = run(*argv, cwd=cwd, stdin=stdin)
    if done.returncode:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise CannotTell(f"{' '.join(argv[:2])} failed: {' '.join(words[-3:])}")
    return done.stdout.decode(errors="replace")


@contextlib.contextmanager
def lines_of(argv: Sequence[str], grace: float = 0.0) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program whose output (and errors) the caller reads line by line.

    It and all its children are gone when the block is left, however it is left.

    Args:
        grace: seconds that it is given to clean up when it is left early.
    """
    child = None
    try:
        with _signals_held():
            child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        yield child
    finally:
        if child is not None:
            _end(child, grace)


def _end(child: subprocess.Popen[bytes], grace: float) -> None:
    if child.poll() is None:
        if grace:
            _signal(child, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.communicate(timeout=grace)  # reads on: a full pipe holds no one up
        _signal(child, signal.SIGKILL)
    child.wait()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Have what would interrupt us do so at the block's end.

    A handler that raises while a program is being started leaves a program that is never ended:
    it has been forked, and its Popen is not there yet.
    """
    handlers: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():  # no other one is interrupted
        handlers = {number: signal.getsignal(number) for number in _INTERRUPTS}
    came: list[int] = []
    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if callable(handler):
                signal.signal(number, handler)
        for caught in came:
            signal.raise_signal(caught)


def lines(child: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield a program's output line by line, without line ends, as it comes.

    A signal that arrives just before a read would be heard with the next line only, and a guest
    may say nothing for a minute: so this never blocks for long.
    """
    assert child.stdout is not None
    place, rest = child.stdout.fileno(), b""
    while True:
        if not select.select([place], [], [], _LOOK_SECONDS)[0]:
            continue
        data = os.read(place, 1 << 16)
        *whole, rest = (rest + data).split(b"\n")
        for line in whole if data else filter(None, [rest]):
            yield line.decode(errors="replace")
        if not data:
            return


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    """Signal it and all its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)
