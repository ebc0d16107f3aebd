"""Writing captures: append only, every frame whole in one go."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from zaptrace.capture import framing
from zaptrace.capture.framing import FrameType
from zaptrace.model.errors import Missing
from zaptrace.model.events import EVENT, Events, Records

_RECORDS_PER_FRAME = 4096  # some 600 KB: what one damaged frame can cost
_ENTRIES_PER_FRAME = 4096
_MAX_TEXT = 4096  # bytes of a string; longer ones are cut
_MAX_DEPTH = 1024  # return addresses of a stack; deeper ones are cut


class Writer:
    """Writes one capture to a file or a pipe; a context manager.

    Each call appends whole frames and holds nothing back: what was written
    stays readable whatever happens next.

    Args:
        target: a path (created with mode 0600, replaced when it exists) or
            an open binary file, which stays open.

    Raises:
        Missing: the target cannot be written (every method).
        BrokenPipeError: the pipe has no reader any more (every method).
    """

    def __init__(self, target: Path | BinaryIO) -> None:
        self._owned = isinstance(target, Path)
        self._file: BinaryIO
        if isinstance(target, Path):
            self._name = str(target)
            self._file = _create(target)
        else:
            self._name = str(getattr(target, "name", "capture stream"))
            self._file = target
        self._put(framing.file_header())

    def add(self, events: Events) -> None:
        """Append one increment of a source: what its ids stand for comes before its records."""
        if events.meta:
            self.meta(events.meta)
        self.strings(events.strings)
        self.stacks(events.stacks)
        self.symbols(events.symbols)
        self.events(events.records)

    def meta(self, data: Mapping[str, Any]) -> None:
        """Append what the recorder knows; JSON types only.  Later keys win."""
        self._put(framing.pack(FrameType.META, json.dumps(dict(data)).encode()))

    def events(self, records: Records) -> None:
        """Append records of dtype EVENT, in their order."""
        size = struct.pack("<I", EVENT.itemsize)
        for start in range(0, len(records), _RECORDS_PER_FRAME):
            chunk = records[start : start + _RECORDS_PER_FRAME].astype(EVENT, copy=False)
            self._put(framing.pack(FrameType.EVENTS, size + chunk.tobytes()))

    def strings(self, strings: Mapping[int, str]) -> None:
        """Append texts by id (from 1), before or after the events that use them."""
        self._entries(FrameType.STRINGS, _texts("<II", strings))

    def stacks(self, stacks: Mapping[int, Sequence[int]]) -> None:
        """Append stacks by id (from 1): return addresses, innermost first."""
        entries = []
        for number, addresses in stacks.items():
            kept = addresses[:_MAX_DEPTH]
            entries.append(struct.pack(f"<II{len(kept)}Q", number, len(kept), *kept))
        self._entries(FrameType.STACKS, entries)

    def symbols(self, symbols: Mapping[int, str]) -> None:
        """Append names of kernel addresses ("function+0x1c")."""
        self._entries(FrameType.SYMBOLS, _texts("<QI", symbols))

    def close(self) -> None:
        """Close the file if the writer opened it."""
        if self._owned:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _entries(self, kind: FrameType, entries: list[bytes]) -> None:
        # 4,096 entries of at most 4 or 8 KB could pass MAX_PAYLOAD: count bytes too.
        batch: list[bytes] = []
        room = framing.MAX_PAYLOAD
        for entry in entries:
            if len(entry) > room or len(batch) == _ENTRIES_PER_FRAME:
                self._put(framing.pack(kind, b"".join(batch)))
                batch, room = [], framing.MAX_PAYLOAD
            batch.append(entry)
            room -= len(entry)
        if batch:
            self._put(framing.pack(kind, b"".join(batch)))

    def _put(self, raw: bytes) -> None:
        view = memoryview(raw)
        try:
            while view:
                view = view[self._file.write(view) :]  # a raw file may take a part only
            self._file.flush()
        except BrokenPipeError:
            raise  # `| head` has seen enough: no error of this machine
        except OSError as error:
            raise Missing(f"{self._name}: cannot be written: {error.strerror}") from error


def write(path: Path, events: Events) -> None:
    """Write a whole capture.

    Raises:
        Missing: the file cannot be written.
    """
    with Writer(path) as writer:
        writer.add(events)


def _texts(header: str, texts: Mapping[int, str]) -> list[bytes]:
    """Entries of a key and a text; `header` packs the key and the text's length in bytes."""
    entries = []
    for key, text in texts.items():
        raw = text.encode("utf-8", "replace")[:_MAX_TEXT]
        entries.append(struct.pack(header, key, len(raw)) + raw)
    return entries


def _create(path: Path) -> BinaryIO:
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.fchmod(number, 0o600)  # also when the file was there already
        return os.fdopen(number, "wb", buffering=0)
    except OSError as error:
        raise Missing(f"{path}: cannot be created: {error.strerror}") from error
