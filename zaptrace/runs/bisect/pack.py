"""The commits of a range as one file, for a machine that has none of the repository.

A pack with every object of the range, and of the commits just below it; those are the ends of a
shallow repository there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from vm import host
from zaptrace.model.errors import CannotTell, Missing
from zaptrace.model.paths import cache_home, locked, write_whole
from zaptrace.runs.bisect.repo import Repo

KEPT = 2
"""Ranges that a worker's machine keeps, with their work trees."""
_SLOTS = 16


def make(repo: Repo, good: str, bad: str, path: Path) -> tuple[str, ...]:
    """Write the pack; the commits whose parents are not in it.

    Raises:
        CannotTell, Missing: git does not do it.
    """
    listed = repo.run("rev-list", "--boundary", bad, "--not", good).splitlines()
    ends = tuple(dict.fromkeys([good, *(line[1:] for line in listed if line.startswith("-"))]))
    names = [repo.run("rev-list", "--objects", "--no-walk", end) for end in ends]
    names.append(repo.run("rev-list", "--objects", bad, "--not", *ends))
    objects = "\n".join(names).encode() + b"\n"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    argv = ("git", "-C", str(repo.path), "pack-objects", "--stdout", "-q")
    try:
        with part.open("wb") as file:
            done = subprocess.run(
                argv, check=False, input=objects, stdout=file, stderr=subprocess.PIPE
            )
    except FileNotFoundError:
        raise Missing("git is not installed", "make setup") from None
    if done.returncode:
        part.unlink()
        raise CannotTell(f"git pack-objects: {done.stderr.decode(errors='replace').strip()}")
    part.rename(path)
    return ends


@contextlib.contextmanager
def worktree(pack: Path, ends: Sequence[str], commit: str) -> Iterator[Path]:
    """Give a work tree of a pack's commit that no other process works in; they are reused.

    Args:
        pack: a file of `make`.
        ends: what `make` returned.

    Raises:
        CannotTell, Missing: git does not do it.
    """
    home = _home() / pack.resolve().name
    with locked(_home() / ".lock"):
        if not (home / "repo" / "shallow").exists():
            _unpack(pack, ends, home / "repo")
        os.utime(home)
        _thin_out()
    with _slot(home) as slot:
        tree = slot / "linux"
        if not (tree / ".git").exists():
            shutil.rmtree(tree, ignore_errors=True)
            options = ("--quiet", "--detach", "--force")
            Repo(home / "repo").run("worktree", "add", *options, str(tree), commit)
        work = Repo(tree)
        # A trial that was killed leaves its lock; the slot is ours.
        (Path(work.run("rev-parse", "--absolute-git-dir")) / "index.lock").unlink(missing_ok=True)
        work.run("checkout", "--quiet", "--detach", "--force", commit)
        work.run("clean", "-ffdq")
        yield tree


def _unpack(pack: Path, ends: Sequence[str], repo: Path) -> None:
    shutil.rmtree(repo, ignore_errors=True)
    repo.mkdir(mode=0o700, parents=True)
    git = ("git", "-C", str(repo))
    host.output(*git, "init", "--bare", "--quiet")
    with pack.open("rb") as file:
        argv = (*git, "index-pack", "--stdin")
        done = subprocess.run(argv, check=False, stdin=file, capture_output=True)
    if done.returncode:
        raise CannotTell(f"git index-pack: {done.stderr.decode(errors='replace').strip()}")
    write_whole(repo / "shallow", "".join(f"{end}\n" for end in ends).encode())


@contextlib.contextmanager
def _slot(home: Path) -> Iterator[Path]:
    """Give the first folder that no other worker of this machine works in."""
    for number in range(_SLOTS):
        slot = home / f"{number}"
        slot.mkdir(exist_ok=True)
        with (slot / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield slot
            return
    raise CannotTell(f"{_SLOTS} workers of this machine bisect the same range already")


def _home() -> Path:
    folder = cache_home() / "bisected"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _thin_out() -> None:
    """Remove the ranges that were tried longest ago and are not being tried now."""
    homes = [path for path in _home().iterdir() if path.is_dir()]
    for home in sorted(homes, key=lambda one: one.stat().st_mtime)[:-KEPT]:
        with contextlib.suppress(OSError):
            for lock in home.glob("*/.lock"):
                with lock.open("w") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(home)
