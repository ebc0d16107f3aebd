"""Captures in pieces: however they come, the events are those of one read."""

from __future__ import annotations

import io
import itertools
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaptrace.capture import framing, parser, payloads, reader, writer
from zaptrace.capture.framing import FrameType
from zaptrace.capture.parser import Parser
from zaptrace.capture.stream import StreamSource
from zaptrace.model.errors import BadInput
from zaptrace.model.events import EVENT, Events, Kind, Records, blank


def records(*addrs: int) -> Records:
    made = blank(len(addrs))
    made["kind"] = Kind.RMAP_REMOVE
    made["addr"] = addrs
    return made


def increment(number: int) -> Events:
    made = records(*range(number * 10, number * 10 + 3))
    made["reason"] = made["stack"] = number
    return Events(
        made, {number: f"reason {number}"}, {number: (number, 7)}, {number: f"f+{number:#x}"}
    )


def sample(count: int = 5) -> bytes:
    file = io.BytesIO()
    one = writer.Writer(file)
    one.meta({"arch": "s390x", "notes": ["bcc"]})
    for number in range(1, count + 1):
        one.add(increment(number))
    return file.getvalue()


SAMPLE = sample()


def joined(increments: list[Events]) -> Events:
    whole = Events(np.concatenate([np.zeros(0, EVENT), *(one.records for one in increments)]))
    for one in increments:
        whole.strings |= one.strings
        whole.stacks |= one.stacks
        whole.symbols |= one.symbols
        whole.meta |= one.meta
    return whole


def same(one: Events, other: Events) -> bool:
    tables = [(e.strings, e.stacks, e.symbols, e.meta) for e in (one, other)]
    return one.records.tobytes() == other.records.tobytes() and tables[0] == tables[1]


@pytest.fixture
def pipe() -> Iterator[tuple[StreamSource, BinaryIO]]:
    """A source on the reading end of a pipe, and the writing end."""
    into, out = os.pipe()
    source = StreamSource(os.fdopen(into, "rb", buffering=0), "the guest")
    with os.fdopen(out, "wb", buffering=0) as file:
        yield source, file
        source.close()


def to_end(source: StreamSource) -> list[Events]:
    found = []
    while (one := source.read(5)) is not None:
        found.append(one)
    return found


damage = st.lists(
    st.tuples(st.integers(framing.FILE_HEADER.size, len(SAMPLE) - 1), st.integers(1, 255)),
    max_size=3,
)


@given(st.lists(st.integers(0, len(SAMPLE)), max_size=12), damage, st.binary(max_size=40))
def test_any_pieces_make_the_events_of_one_read(
    cuts: list[int], flips: list[tuple[int, int]], rubbish: bytes
) -> None:
    """Also of a damaged capture: the pieces decide nothing, not even the count of the damage."""
    data = bytearray(SAMPLE)
    for position, flip in flips:
        data[position] ^= flip
    data += rubbish
    one = Parser("test")
    edges = [0, *sorted(cuts), len(data)]
    found = []
    for start, end in itertools.pairwise(edges):
        one.feed(bytes(data[start:end]))
        found.append(one.take())
    one.finish()
    found.append(one.take())
    assert same(joined(found), reader.read(io.BytesIO(data)))


@given(st.binary(max_size=600), st.integers(1, 50))
def test_random_bytes_never_raise_in_any_pieces(data: bytes, size: int) -> None:
    one = Parser("test")
    one.feed(framing.file_header())
    found = []
    for start in range(0, len(data), size):
        one.feed(data[start : start + size])
        found.append(one.take())
    one.finish()
    found.append(one.take())
    assert joined(found).meta["damaged_frames"] == bool(data)


@given(st.sampled_from(FrameType), st.binary(max_size=100), st.booleans())
def test_a_frame_of_rubbish_costs_itself(kind: FrameType, payload: bytes, own: bool) -> None:
    raw = framing.pack(kind, payload)
    if not own:
        raw = raw[:-1]
    events = reader.read(io.BytesIO(SAMPLE + raw))
    whole = reader.read(io.BytesIO(SAMPLE))
    assert events.records[: len(whole.records)].tobytes() == whole.records.tobytes()


def test_byte_by_byte_takes_linear_time() -> None:
    one = Parser("test")
    started = time.process_time()
    one.feed(framing.file_header())
    payload = struct.pack("<I", EVENT.itemsize) + records(*range(2000)).tobytes()
    for byte in framing.pack(FrameType.EVENTS, payload):
        one.feed(bytes([byte]))
    assert len(one.take().records) == 2000
    assert time.process_time() - started < 20  # quadratic copying: minutes


def test_increments_come_as_they_are_written(pipe: tuple[StreamSource, BinaryIO]) -> None:
    source, out = pipe
    one = writer.Writer(out)
    one.add(Events(meta={"arch": "s390x"}))
    first = source.read(5)
    assert first is not None
    assert first.meta["arch"] == "s390x"
    assert first.meta["damaged_frames"] == 0
    for number in (1, 2):
        one.add(increment(number))
        came = source.read(5)
        assert came is not None
        assert same(came, increment(number))  # no word on damage: nothing has changed
    out.close()
    assert source.read(5) is None


def test_nothing_comes_until_the_time_is_up(pipe: tuple[StreamSource, BinaryIO]) -> None:
    source, out = pipe
    writer.Writer(out)
    source.read(0)
    started = time.monotonic()
    came = source.read(0.05)
    assert came is not None
    assert not len(came.records)
    assert time.monotonic() - started > 0.04
    out.write(SAMPLE[framing.FILE_HEADER.size :][:30])  # not a whole frame yet: the same
    assert source.read(0.05) is not None


def test_a_reader_that_waits_is_woken(pipe: tuple[StreamSource, BinaryIO]) -> None:
    source, out = pipe
    threading.Timer(0.05, out.write, [SAMPLE]).start()
    came = source.read(30)
    assert came is not None
    assert len(came.records) == 15


def test_ids_are_good_from_the_moment_they_came(pipe: tuple[StreamSource, BinaryIO]) -> None:
    source, out = pipe
    one = writer.Writer(out)
    early = records(1)
    early["reason"] = early["stack"] = 4
    one.events(early)
    before = source.read(5)
    one.strings({4: "nonzero mapcount"})
    one.stacks({4: (1,)})
    source.read(5)
    one.events(early)
    after = source.read(5)
    assert before is not None
    assert after is not None
    assert (before.records["reason"][0], before.records["stack"][0]) == (0, 0)
    assert (after.records["reason"][0], after.records["stack"][0]) == (4, 4)


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_stream_cut_in_a_record_is_said(pipe: tuple[StreamSource, BinaryIO], cut: int) -> None:
    source, out = pipe
    out.write(SAMPLE[:-cut])
    out.close()
    whole = joined(to_end(source))
    assert len(whole.records) == 12
    assert whole.meta["damaged_frames"] == 1
    assert whole.meta["notes"][0] == "bcc"
    assert "the guest ended in the middle of a frame" in whole.meta["notes"][1]


def test_a_peer_that_resets_the_connection_has_ended_the_stream() -> None:
    ours, theirs = socket.socketpair()
    source = StreamSource(ours, "the guest")
    theirs.sendall(SAMPLE)
    ours.send(b"unread")  # bytes the peer never reads make its close a reset
    theirs.close()
    whole = joined(to_end(source))
    assert len(whole.records) == 15
    assert whole.meta["notes"][1:] == ["the guest broke: Connection reset by peer"]
    source.close()
    source.close()
    assert source.read(0) is None


@pytest.mark.parametrize("data", [b"", b"zap", b"Linux version 6.1.0 (gcc)\n" * 9])
def test_what_is_no_capture_is_refused_once(
    pipe: tuple[StreamSource, BinaryIO], data: bytes
) -> None:
    source, out = pipe
    out.write(data)
    out.close()
    with pytest.raises(BadInput, match="the guest: not a zaptrace capture"):
        source.read(5)
    assert source.read(5) is None


def test_tables_are_bounded_and_what_was_dropped_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parser, "MAX_TABLES", 10_000)
    file = io.BytesIO()
    one = writer.Writer(file)
    one.strings(dict.fromkeys(range(1, 13), "x" * 936))
    one.events(record_of_reason(12))
    events = reader.read(io.BytesIO(file.getvalue()))
    assert list(events.strings) == list(range(1, 11))
    assert events.meta["dropped_entries"] == 2
    assert events.records["reason"][0] == 0


def record_of_reason(number: int) -> Records:
    made = records(1)
    made["reason"] = number
    return made


def test_meta_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser, "MAX_META", 100)
    file = io.BytesIO()
    one = writer.Writer(file)
    one.meta({"a": "x" * 80})
    one.meta({"b": "x" * 80})
    events = reader.read(io.BytesIO(file.getvalue()))
    assert "a" in events.meta
    assert "b" not in events.meta
    assert events.meta["dropped_entries"] == 1


def test_an_id_keeps_its_first_meaning() -> None:
    file = io.BytesIO()
    one = writer.Writer(file)
    one.strings({1: "first"})
    one.strings({1: "second"})
    assert reader.read(io.BytesIO(file.getvalue())).strings == {1: "first"}


@pytest.mark.parametrize(
    "meta",
    [
        {"sites": {}},
        {"sites": ["zap"]},
        {"notes": "bcc"},
        {"notes": [1]},
        {"page_size": "4096"},
        {"page_size": True},
        {"arch": 1},
        {"release": "\ud800"},
    ],
)
def test_meta_of_a_wrong_type_is_damage(meta: dict[str, object]) -> None:
    raw = framing.pack(FrameType.META, json.dumps(meta).encode())
    events = reader.read(io.BytesIO(SAMPLE + raw))
    assert events.meta["damaged_frames"] == 1
    assert events.meta["arch"] == "s390x"


def test_the_totals_are_ours_to_say() -> None:
    lies = b'{"damaged_frames": "none", "damaged_records": -1, "generation": 7}'
    meta = reader.read(io.BytesIO(SAMPLE + framing.pack(FrameType.META, lies))).meta
    assert (meta["damaged_frames"], meta["damaged_records"]) == (0, 0)
    assert "generation" not in meta


def test_a_frame_of_too_many_entries_is_refused_before_they_are_kept() -> None:
    entries = b"".join(struct.pack("<II", n + 1, 0) for n in range(payloads.MAX_ENTRIES + 1))
    events = reader.read(io.BytesIO(SAMPLE + framing.pack(FrameType.STRINGS, entries)))
    assert events.meta["damaged_frames"] == 1
    assert len(events.strings) == 5
