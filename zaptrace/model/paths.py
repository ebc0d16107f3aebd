"""Where zaptrace keeps things: the XDG folders, and files that are never half-written."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "zaptrace."  # short: the paths of sockets are
_SETTLED_SECONDS = 60.0
"""A scratch folder that is younger may not have been locked by its owner yet."""


def cache_home() -> Path:
    """Return the folder for what can be made again: kernels, packages, probe plans (0700)."""
    return _home("XDG_CACHE_HOME", ".cache")


def state_home() -> Path:
    """Return the folder for what cannot be made again: runs (0700)."""
    return _home("XDG_STATE_HOME", ".local/state")


def _home(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The XDG specification: a relative path is invalid and ignored.
    base = Path(value) if value.startswith("/") else Path.home() / default
    folder = base / "zaptrace"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def write_whole(path: Path, data: bytes) -> None:
    """Write a file (0600) that is there whole or not at all, whenever we are killed.

    Raises:
        OSError: it cannot be written, by its name.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # of a full disk
            error.filename = str(path)
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; waits for another zaptrace that holds it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a private folder (0700) in the temporary folder, and remove it afterwards.

    It is locked while its owner lives.  Those that an owner left who was killed are removed first.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, _held(Path(folder)):
        yield Path(folder)


def _remove_abandoned(base: Path) -> None:
    for folder in base.glob(f"{_PREFIX}*"):
        # Not ours, gone meanwhile, or held by its owner: all of these are OSErrors.
        with contextlib.suppress(OSError):
            found = folder.lstat()
            mine = found.st_uid == os.getuid() and not folder.is_symlink()
            if mine and time.time() - found.st_mtime >= _SETTLED_SECONDS:
                with _held(folder):
                    shutil.rmtree(folder)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder.

    Raises:
        BlockingIOError: another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
