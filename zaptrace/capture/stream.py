"""A capture that is still being written: a pipe, a socket, a guest's virtio-serial port."""

from __future__ import annotations

import os
import select
import time
from typing import Protocol

from zaptrace.capture.parser import Parser
from zaptrace.model.errors import BadInput
from zaptrace.model.events import Events

_PIECE = 1 << 18  # bytes that are read at a time
_INCREMENT = 8 << 20  # bytes that go into one increment when the writer is faster than we


class Stream(Protocol):
    """What the bytes come from: a pipe's file object or a socket."""

    def fileno(self) -> int:
        """Return the descriptor that is read, past any buffer of the object."""

    def close(self) -> None:
        """Close it."""


class StreamSource:
    """Implements model.source.Source over a capture that comes in pieces.

    A stream that breaks or is cut in the middle of a frame has ended, and the
    last increment's notes say how; damage is counted in `meta` as Parser does.

    Args:
        stream: closed by `close()`.
        name: what it is called in errors and notes.
    """

    def __init__(self, stream: Stream, name: str = "the stream") -> None:
        self._stream = stream
        self._name = name
        self._parser = Parser(name)
        self._poll = select.poll()
        self._poll.register(stream.fileno(), select.POLLIN)
        self._notes: list[str] = []  # the recorder's
        self._ending: str | None = None  # how the stream ended, if not well
        self._ended = False

    def read(self, seconds: float) -> Events | None:
        """Return what came since the last call; waits up to `seconds` while there is nothing.

        Raises:
            BadInput: not a capture, or one of a version that this program cannot read.
        """
        if self._ended:
            return None
        deadline = time.monotonic() + seconds
        while True:
            more = self._drain(max(0.0, deadline - time.monotonic()))
            events = self._parser.take()
            self._notes = events.meta.get("notes", self._notes)
            if not more:
                return self._last(events)
            if not _empty(events) or time.monotonic() >= deadline:
                return events

    def close(self) -> None:
        """Close the stream; may be called twice."""
        self._ended = True
        self._stream.close()

    def _drain(self, seconds: float) -> bool:
        """Feed the parser what is available, waiting for the first piece only; return False at the
        end."""
        taken = 0
        while taken < _INCREMENT and self._poll.poll(seconds * 1000):
            try:
                piece = os.read(self._stream.fileno(), _PIECE)
            except BlockingIOError:
                break
            except OSError as error:
                self._end(f"{self._name} broke: {error.strerror}")
                return False
            if not piece:
                self._end(None)
                return False
            self._feed(piece)
            taken += len(piece)
            seconds = 0
        return True

    def _feed(self, piece: bytes) -> None:
        try:
            self._parser.feed(piece)
        except BadInput:
            self._ended = True  # whatever follows is no capture either
            raise

    def _end(self, broke: str | None) -> None:
        self._ended = True
        whole = self._parser.finish()
        torn = f"{self._name} ended in the middle of a frame: its last events are lost"
        self._ending = broke or (None if whole else torn)

    def _last(self, events: Events) -> Events | None:
        if self._ending:
            events.meta["notes"] = [*self._notes, self._ending]
        return None if _empty(events) else events


def _empty(events: Events) -> bool:
    tables = (events.strings, events.stacks, events.symbols, events.meta)
    return not len(events.records) and not any(tables)
