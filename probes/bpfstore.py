"""Compiled BPF programs in the cache: each is compiled once for a kernel.

A program is known by all that went into it: its text (which holds the plan's registers and
offsets, and the filters), the headers, bcc's version, the kernel.  What is damaged, or is another
user's to write, is as good as absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import stat
from collections.abc import Callable
from pathlib import Path

from probes import bpfobject
from probes.bpfobject import Compiled, Damaged
from zaptrace.model.paths import cache_home, write_whole

FOLDER = "programs"
KEPT = 64
"""Programs; each filter makes one."""


def key_of(*parts: str) -> str:
    """Return the key of a program for the running kernel.

    Args:
        parts: all that goes into it besides the kernel.
    """
    system = platform.uname()
    kernel = (system.release, system.version, system.machine)
    whole = "\0".join(f"{len(part)} {part}" for part in (*kernel, *parts))
    return hashlib.sha256(whole.encode()).hexdigest()


def compiled_once(key: str, compile_: Callable[[], Compiled]) -> Compiled:
    """Return a program out of the cache, or compiled now and kept.

    That it cannot be kept (a full disk) costs the next one a compile, and is no error.
    """
    path = cache_home() / FOLDER / key
    with contextlib.suppress(OSError, Damaged):
        kept = bpfobject.from_bytes(_read(path), key)
        os.utime(path)  # the oldest goes first
        return kept
    compiled = compile_()
    with contextlib.suppress(OSError):
        write_whole(path, bpfobject.to_bytes(compiled, key))
        _thin_out(path.parent)
    return compiled


def _read(path: Path) -> bytes:
    """Return a file that no one but us can have written."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if status.st_uid != os.geteuid() or others or not stat.S_ISREG(status.st_mode):
            raise Damaged("others can write it")
        return file.read(bpfobject.MOST_BYTES + 1)


def _thin_out(folder: Path) -> None:
    """Remove the programs that were used longest ago."""
    entries = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime, reverse=True)
    for path in entries[KEPT:]:
        path.unlink(missing_ok=True)
