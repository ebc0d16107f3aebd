"""A guest's memory as a sparse file: most of it is zero, and none of that is written."""

from __future__ import annotations

import os
from pathlib import Path

CHUNK = 1 << 16  # bytes; what a pipe holds
ZEROS = bytes(CHUNK)


def receive(source: int, path: Path) -> None:
    """Copy a file descriptor to its end into a new file (0600), with holes for zeros.

    Args:
        source: a readable descriptor; closed at the end.

    Raises:
        OSError: the file cannot be written (a full disk).
    """
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        size = 0
        while chunk := _whole_chunk(source):
            if chunk != ZEROS[: len(chunk)]:
                _write_at(target, chunk, size)
            size += len(chunk)
        os.ftruncate(target, size)
    finally:
        os.close(source)
        os.close(target)


def _whole_chunk(source: int) -> bytes:
    """CHUNK bytes, or what is left; pipes give what they have."""
    chunk = os.read(source, CHUNK)
    while chunk and len(chunk) < CHUNK:
        more = os.read(source, CHUNK - len(chunk))
        if not more:
            break
        chunk += more
    return chunk


def _write_at(target: int, chunk: bytes, offset: int) -> None:
    view = memoryview(chunk)
    while view:
        written = os.pwrite(target, view, offset)
        view, offset = view[written:], offset + written
