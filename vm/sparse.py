"""A guest's memory as a sparse file: most of it is zero, and none of that is written."""

from __future__ import annotations

import os
import select
import threading
from pathlib import Path

CHUNK = 1 << 16  # bytes; what a pipe holds
ZEROS = bytes(CHUNK)


_LOOK_MS = 200


def receive(source: int, path: Path, given_up: threading.Event) -> None:
    """Copy a file descriptor to its end into a new file (0600), with holes for zeros.

    Args:
        source: a readable descriptor; closed at the end.
        given_up: set when no more is waited for, end or not.

    Raises:
        OSError: the file, which it names, cannot be written (a full disk).
    """
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        size = 0
        while chunk := _whole_chunk(source, given_up):
            if chunk != ZEROS[: len(chunk)]:
                _write_at(target, chunk, size)
            size += len(chunk)
        os.ftruncate(target, size)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(source)
        os.close(target)


def _whole_chunk(source: int, given_up: threading.Event) -> bytes:
    """Read CHUNK bytes, or what is left; pipes give what they have."""
    chunk = _piece(source, CHUNK, given_up)
    while chunk and len(chunk) < CHUNK:
        more = _piece(source, CHUNK - len(chunk), given_up)
        if not more:
            break
        chunk += more
    return chunk


def _piece(source: int, size: int, given_up: threading.Event) -> bytes:
    """Return what there is, as soon as there is something; nothing at the end."""
    waiting = select.poll()  # not select(): a descriptor may be above its 1,024
    waiting.register(source, select.POLLIN)
    while not given_up.is_set():
        if waiting.poll(_LOOK_MS):
            return os.read(source, size)
    return b""


def _write_at(target: int, chunk: bytes, offset: int) -> None:
    view = memoryview(chunk)
    while view:
        written = os.pwrite(target, view, offset)
        view, offset = view[written:], offset + written
