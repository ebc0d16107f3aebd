"""Reading whole captures: hostile or torn, a bad frame costs that frame alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from zaptrace.capture.parser import Parser
from zaptrace.model.errors import Missing
from zaptrace.model.events import Events

_PIECE = 1 << 20  # bytes that are read at a time


def read(source: Path | BinaryIO) -> Events:
    """Read a capture from a file, or from a pipe up to its end.

    Whatever is wrong inside is skipped and counted in `meta`, always present:
    `damaged_frames`, `damaged_records` and `dropped_entries` (see Parser).  A
    record's reason or stack whose text or addresses were lost reads 0.

    Raises:
        BadInput: not a capture, or one of a version that this program cannot read.
        Missing: no such file, or not readable.
    """
    name = str(source) if isinstance(source, Path) else str(getattr(source, "name", "the stream"))
    parser = Parser(name)
    for piece in _pieces(source, name):
        parser.feed(piece)
    parser.finish()
    return parser.take()


def _pieces(source: Path | BinaryIO, name: str) -> Iterator[bytes]:
    try:
        with source.open("rb") if isinstance(source, Path) else _left_open(source) as file:
            while piece := file.read(_PIECE):
                yield piece
    except OSError as error:
        raise Missing(f"{name}: cannot be read: {error.strerror}") from error


def _left_open(file: BinaryIO) -> contextlib.nullcontext[BinaryIO]:
    return contextlib.nullcontext(file)
