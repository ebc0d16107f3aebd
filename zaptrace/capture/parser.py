"""The one parser of captures: bytes in pieces of any size in, increments of events out."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, TypeVar

import numpy as np

from zaptrace.capture import framing, payloads
from zaptrace.capture.framing import Frame, FrameType
from zaptrace.capture.payloads import Damaged
from zaptrace.model.errors import BadInput
from zaptrace.model.events import Events, Kind, Origin, Records

T = TypeVar("T", bound=Sized)
MAX_TABLES = 64 << 20
"""Bytes for the strings, stacks and symbols of one capture (Python takes up to five times that)."""
MAX_META = 8 << 20
"""Bytes of JSON that one capture may say of itself."""
_ENTRY_COST = 64  # bytes: a million entries at most
_ITEM_COST = {FrameType.STRINGS: 1, FrameType.SYMBOLS: 1, FrameType.STACKS: 8}
_KINDS = np.array([int(kind) for kind in Kind], np.uint8)
_ORIGINS = np.array([int(origin) for origin in Origin], np.uint8)


class Parser:
    """Reads one capture.

    Whatever is wrong inside is skipped and counted in the increments' `meta`:
    running totals, said in the first increment and whenever they change.

        damaged_frames   frames that were lost (a torn tail counts as one)
        damaged_records  records of a kind or origin that does not exist
        dropped_entries  strings, stacks, symbols and META frames beyond what we keep

    An id keeps its first meaning.  What is not taken stays in memory.

    Args:
        name: what the bytes are called in errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._start: bytes | None = b""  # of the file header, None once it was checked
        self._splitter = framing.Splitter()
        self._records: list[Records] = []
        self._fresh = Events()
        self._known: dict[FrameType, set[int]] = {kind: set() for kind in _ITEM_COST}
        self._room = MAX_TABLES
        self._meta_room = MAX_META
        self._totals = dict.fromkeys(("damaged_frames", "damaged_records", "dropped_entries"), 0)
        self._said: dict[str, int] = {}

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            BadInput: not a capture, or one of a version that this program cannot read.
        """
        if self._start is not None:
            self._start += data
            if len(self._start) < framing.FILE_HEADER.size:
                return
            _check_file_header(self._start, self._name)
            data, self._start = self._start[framing.FILE_HEADER.size :], None
        self._take_all(self._splitter.feed(data))

    def finish(self) -> bool:
        """End the input; return whether it ended with a whole frame.

        Raises:
            BadInput: not a capture.
        """
        if self._start is not None:
            _check_file_header(self._start, self._name)
        tail = self._splitter.finish()
        self._take_all(tail)
        return not tail

    def take(self) -> Events:
        """Return what has come since the last call.

        Reasons and stacks whose texts and addresses have not come yet read 0.
        """
        events, self._fresh = self._fresh, Events()
        chunks, self._records = self._records, []
        if chunks:
            events.records = self._sound(np.concatenate(chunks))
        for field, kind in (("reason", FrameType.STRINGS), ("stack", FrameType.STACKS)):
            _drop_dangling(events.records[field], self._known[kind])
        events.meta.pop("generation", None)  # a replay's to say: views forget all they have
        for name, total in self._totals.items():
            events.meta.pop(name, None)  # ours to say, not the recorder's
            if self._said.get(name) != total:
                events.meta[name] = self._said[name] = total
        return events

    def _take_all(self, found: list[Frame]) -> None:
        for frame in found:
            try:
                self._take(frame)
            except Damaged:
                self._totals["damaged_frames"] += 1

    def _take(self, frame: Frame) -> None:
        if frame.payload is None:
            raise Damaged
        match frame.type:
            case FrameType.META:
                self._add_meta(frame.payload)
            case FrameType.EVENTS:
                self._records.append(payloads.records(frame.payload))
            case FrameType.STRINGS:
                found = payloads.strings(frame.payload)
                self._add(FrameType.STRINGS, found, self._fresh.strings)
            case FrameType.STACKS:
                stacks = payloads.stacks(frame.payload)
                self._add(FrameType.STACKS, stacks, self._fresh.stacks)
            case FrameType.SYMBOLS:
                found = payloads.symbols(frame.payload)
                self._add(FrameType.SYMBOLS, found, self._fresh.symbols)
            case _:
                raise Damaged

    def _add_meta(self, payload: bytearray) -> None:
        if len(payload) > self._meta_room:
            self._totals["dropped_entries"] += 1
            return
        self._meta_room -= len(payload)
        self._fresh.meta.update(payloads.meta(payload))

    def _add(self, kind: FrameType, entries: dict[int, T], table: dict[int, T]) -> None:
        known = self._known[kind]
        for key, value in entries.items():
            if key in known:
                continue
            cost = _ENTRY_COST + _ITEM_COST[kind] * len(value)
            if cost > self._room:
                self._totals["dropped_entries"] += 1
                continue
            self._room -= cost
            known.add(key)
            table[key] = value

    def _sound(self, records: Records) -> Records:
        """Return the records that this program understands."""
        good = np.isin(records["kind"], _KINDS) & np.isin(records["origin"], _ORIGINS)
        self._totals["damaged_records"] += int(len(records) - good.sum())
        return records[good]


def _check_file_header(start: bytes, name: str) -> None:
    if len(start) < framing.FILE_HEADER.size or not start.startswith(framing.MAGIC):
        raise BadInput(f"{name}: not a zaptrace capture")
    version = framing.FILE_HEADER.unpack_from(start)[1]
    if version != framing.VERSION:
        raise BadInput(
            f"{name}: a capture of version {version}; this zaptrace reads {framing.VERSION}"
        )


def _drop_dangling(ids: np.ndarray[Any, np.dtype[np.uint32]], known: set[int]) -> None:
    """Set ids that stand for nothing to 0, in place."""
    dangling = [number for number in np.unique(ids).tolist() if number and number not in known]
    if dangling:
        ids[np.isin(ids, np.array(dangling, np.uint32))] = 0
