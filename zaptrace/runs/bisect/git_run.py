"""`git bisect run` in a linked work tree, followed line by line and ended politely."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vm import host
from zaptrace.model.errors import CannotTell, Missing
from zaptrace.runs.bisect.repo import Repo

PATIENCE = 30.0  # s; a step that is asked to end takes down its guest and its make
ONLY_SKIPPED = 2
"""What git bisect ends with when it cannot say more because of skipped commits."""


def start(repo: Repo, good: str, bad: str) -> None:
    """Begin a bisect from its ends, whatever was under way in this work tree."""
    repo.ask("bisect", "reset", "HEAD")
    repo.run("bisect", "start", bad, good)


def run(
    repo: Repo, step: Sequence[str], heard: Callable[[str], None], env: dict[str, str]
) -> tuple[str, ...]:
    """Let git bisect run a command on one commit after another.

    Args:
        step: the command; 0, 1 and 125 are its answers, above 127 stops it all.
        heard: is given each line that git or the command prints.
        env: the environment of both.

    Returns:
        The first bad commit; several, when skipped ones stand between.

    Raises:
        Missing: there is no git.
        CannotTell: git or the command stopped it.
        KeyboardInterrupt: both have ended, and the bisect can be begun again.
    """
    last = ""
    with _running(repo.path, step, env) as child:
        for line in host.lines(child):
            last = line if line.strip() else last
            heard(line)
        status = child.wait()
    if status not in (0, ONLY_SKIPPED):
        raise CannotTell(f"git bisect stopped: {last}")
    return candidates(repo)


def candidates(repo: Repo) -> tuple[str, ...]:
    """Return the commits of which any may be the first bad one, by git's marks, newest first."""
    ends = repo.run("for-each-ref", "--format=%(objectname)", "refs/bisect/good-*").split()
    bad = repo.run("rev-parse", "refs/bisect/bad")
    return tuple(repo.run("rev-list", bad, "--not", *ends).split())


@contextlib.contextmanager
def _running(
    worktree: Path, step: Sequence[str], env: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run git bisect run in a session of its own: Ctrl-C is ours to pass on, to each once."""
    tied = ("setpriv", "--pdeathsig", "TERM")
    try:
        child = subprocess.Popen(
            [*tied, "git", "-C", str(worktree), "bisect", "run", *tied, *step],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={name: value for name, value in env.items() if not name.startswith("GIT_")},
        )
    except FileNotFoundError as error:
        raise Missing(f"{error.filename} is not installed", "make setup") from None
    try:
        yield child
    finally:
        if child.poll() is None:
            _end(child)
        child.wait()


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the step first, which then ends git; kill what does not end."""
    for process in _steps(child.pid) or [child.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
    killer = threading.Timer(PATIENCE, _kill, (child.pid,))
    killer.start()
    try:
        assert child.stdout is not None
        while child.stdout.read(1 << 16):  # ends when no process holds the other end any more
            pass
    finally:
        killer.cancel()
        _kill(child.pid)


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _steps(group: int) -> list[int]:
    """Return the processes of git's group that are not git nor a shell of its: the step itself."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, rest = _stat(entry.read_text())
            if int(rest[2]) == group and not re.match(r"git|sh$|dash$|bash$|setpriv", name):
                found.append(int(entry.parent.name))
    return found


def _stat(text: str) -> tuple[str, list[str]]:
    """Return a process's name, and what follows it: state, parent, group, ..."""
    start, end = text.index("("), text.rindex(")")
    return text[start + 1 : end], text[end + 2 :].split()
