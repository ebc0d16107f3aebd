"""Standard output and error as pipes, whose reader may leave (`| head`) and change no result."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Pipe(io.FileIO):
    """A pipe that takes everything; without a reader it is lost."""

    abandoned = False

    def write(self, data: ReadableBuffer, /) -> int:
        """See FileIO."""
        if not self.abandoned:
            try:
                return super().write(data)
            except BrokenPipeError:
                self.abandoned = True
        return memoryview(data).nbytes


def ignore_broken_stdout() -> None:
    """Let no write to standard output or error fail because its reader has left."""
    sys.stdout, sys.stderr = _forgiving(sys.stdout), _forgiving(sys.stderr)


def abandoned() -> bool:
    """Return whether standard output was seen to have no reader any more: a stream may end then."""
    pipe = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(pipe, _Pipe) and pipe.abandoned


def _forgiving(stream: TextIO) -> TextIO:
    # A terminal is left alone: readline and Textual want the interpreter's own object.
    if not isinstance(stream, io.TextIOWrapper) or stream.isatty():
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(stream.fileno(), "wb", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
