"""The capture format: what goes in comes out, and damage costs its frame alone."""

from __future__ import annotations

import io
import os
import stat
import struct
import threading
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaptrace.capture import framing, reader, writer
from zaptrace.capture.framing import FrameType
from zaptrace.model.errors import BadInput, Missing
from zaptrace.model.events import EVENT, Events, Kind, Records, blank

FRAMES = 5
"""EVENTS frames of `sample()`, each with one record, addr 0 .. FRAMES - 1."""


def record(addr: int) -> Records:
    records = blank(1)
    records["kind"] = Kind.RMAP_REMOVE
    records["addr"] = addr
    records["comm"] = b"zapwork"
    return records


def sample() -> tuple[bytes, list[int]]:
    """A capture, and where each of its frames starts (the last entry: its end)."""
    file = io.BytesIO()
    starts = []
    one = writer.Writer(file)
    starts.append(file.tell())
    one.meta({"arch": "s390x"})
    for addr in range(FRAMES):
        starts.append(file.tell())
        one.events(record(addr))
    return file.getvalue(), [*starts, len(file.getvalue())]


SAMPLE, STARTS = sample()


def read_bytes(data: bytes) -> Events:
    return reader.read(io.BytesIO(data))


def addrs(events: Events) -> list[int]:
    return [int(addr) for addr in events.records["addr"]]


def test_everything_comes_back(tmp_path: Path) -> None:
    records = np.concatenate([record(addr) for addr in range(10_000)])
    records["reason"][3] = 7
    records["stack"][4] = 9
    records["raw_mapcount"][5] = -1
    events = Events(records, {7: "nonzero mapcount – ü"}, {9: (1, 2**64 - 1)})
    events.symbols = {2**64 - 1: "bad_page+0x0", 4: "été"}
    events.meta["release"] = "6.1"
    path = tmp_path / "capture"
    writer.write(path, events)
    back = reader.read(path)
    assert back.records.dtype == EVENT
    assert back.records.tobytes() == records.tobytes()
    assert back.strings == events.strings
    assert back.stacks == events.stacks
    assert back.symbols == events.symbols
    undamaged = {"damaged_frames": 0, "damaged_records": 0, "dropped_entries": 0}
    assert back.meta == {"release": "6.1", **undamaged}


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.touch(mode=0o644)
    writer.write(path, Events())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_pipe_carries_the_same_bytes_as_a_file(tmp_path: Path) -> None:
    events = Events(np.concatenate([record(addr) for addr in range(9000)]), {1: "x"})
    events.meta["arch"] = "s390x"
    path = tmp_path / "capture"
    writer.write(path, events)
    into, out = os.pipe()
    got: list[bytes] = []

    def drain() -> None:
        with os.fdopen(into, "rb") as file:
            got.append(file.read())

    thread = threading.Thread(target=drain)
    thread.start()
    with os.fdopen(out, "wb", buffering=0) as file:  # raw: a write may be taken in part
        writer.Writer(file).add(events)
    thread.join(10)
    assert got == [path.read_bytes()]


def test_each_frame_is_readable_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "capture"
    with writer.Writer(path) as one:
        one.events(record(1))
        assert addrs(reader.read(path)) == [1]
        one.events(record(2))
        assert addrs(reader.read(path)) == [1, 2]


def test_a_full_disk_is_said_plainly() -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(Missing, match="No space"),
    ):
        writer.Writer(full)


def test_a_reader_that_has_gone_is_no_error_of_the_machine() -> None:
    into, out = os.pipe()
    os.close(into)
    with os.fdopen(out, "wb", buffering=0) as file, pytest.raises(BrokenPipeError):
        writer.Writer(file)


@given(st.integers(0, len(SAMPLE)))
def test_a_torn_tail_costs_the_torn_frame_alone(length: int) -> None:
    torn = SAMPLE[:length]
    if length < framing.FILE_HEADER.size:
        with pytest.raises(BadInput, match="not a zaptrace capture"):
            read_bytes(torn)
        return
    events = read_bytes(torn)
    whole = [end for end in STARTS[1:] if end <= length]
    assert addrs(events) == list(range(max(0, len(whole) - 1)))
    assert events.meta["damaged_frames"] == (length not in STARTS)


@given(st.integers(0, len(SAMPLE) - 1), st.integers(1, 255))
def test_a_flipped_byte_costs_its_frame_alone(position: int, flip: int) -> None:
    data = bytearray(SAMPLE)
    data[position] ^= flip
    if position < framing.FILE_HEADER.size - 6:  # magic and version
        with pytest.raises(BadInput, match=r"not a zaptrace capture|of version"):
            read_bytes(bytes(data))
        return
    events = read_bytes(bytes(data))
    hit = max((i for i, start in enumerate(STARTS[:-1]) if start <= position), default=None)
    expected = [addr for addr in range(FRAMES) if hit is None or addr != hit - 1]
    assert addrs(events) == expected
    assert events.meta.get("arch") == (None if hit == 0 else "s390x")
    assert events.meta["damaged_frames"] == (hit is not None)


@given(st.integers(0, FRAMES), st.binary(max_size=200))
def test_rubbish_between_frames_costs_nothing_else(before: int, rubbish: bytes) -> None:
    at = STARTS[before]
    events = read_bytes(SAMPLE[:at] + rubbish + SAMPLE[at:])
    assert addrs(events) == list(range(FRAMES))
    assert events.meta["damaged_frames"] == bool(rubbish)


@given(st.binary(max_size=2000))
def test_whatever_the_bytes_are_nothing_but_badinput_comes_out(data: bytes) -> None:
    read_bytes(framing.file_header() + data)
    if not data.startswith(framing.MAGIC):
        with pytest.raises(BadInput):
            read_bytes(data)


@given(st.sampled_from(FrameType), st.binary(max_size=400))
def test_a_frame_with_a_good_checksum_and_a_bad_content_is_only_skipped(
    kind: FrameType, payload: bytes
) -> None:
    events = read_bytes(SAMPLE + framing.pack(kind, payload))
    if kind != FrameType.EVENTS:
        assert addrs(events) == list(range(FRAMES))
    assert addrs(events)[:FRAMES] == list(range(FRAMES))


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (FrameType.EVENTS, struct.pack("<I", EVENT.itemsize) + bytes(EVENT.itemsize - 1)),
        (FrameType.EVENTS, struct.pack("<I", 8) + bytes(8)),
        (FrameType.EVENTS, b""),
        (FrameType.STRINGS, struct.pack("<II", 1, 2**32 - 1) + b"x"),
        (FrameType.STRINGS, struct.pack("<II", 0, 1) + b"x"),
        (FrameType.STRINGS, b"\0"),
        (FrameType.STACKS, struct.pack("<II", 1, 2**32 - 1) + bytes(8)),
        (FrameType.STACKS, struct.pack("<IIQ", 1, 2, 8)),
        (FrameType.SYMBOLS, struct.pack("<QI", 1, 2**32 - 1) + b"x"),
        (FrameType.SYMBOLS, bytes(11)),
        (FrameType.META, b"[1]"),
        (FrameType.META, b"[" * 100_000),
        (FrameType.META, b"\xff"),
    ],
)
def test_lengths_counts_and_ids_are_checked(kind: FrameType, payload: bytes) -> None:
    events = read_bytes(SAMPLE + framing.pack(kind, payload))
    assert events.meta["damaged_frames"] == 1
    assert addrs(events) == list(range(FRAMES))
    assert (events.strings, events.stacks, events.symbols) == ({}, {}, {})


def test_a_length_that_lies_is_not_believed() -> None:
    fields = struct.pack("<4sIII", framing.SYNC, FrameType.EVENTS, 2**32 - 1, 0)
    liar = fields + struct.pack("<I", zlib.crc32(fields))
    events = read_bytes(SAMPLE[: STARTS[2]] + liar + SAMPLE[STARTS[2] :])
    assert addrs(events) == list(range(FRAMES))
    assert events.meta["damaged_frames"] == 1


def test_kinds_that_do_not_exist_are_counted_and_dropped() -> None:
    file = io.BytesIO()
    one = writer.Writer(file)
    strange = np.concatenate([record(1), record(2), record(3)])
    strange["kind"][1] = 200
    strange["origin"][2] = 9
    one.events(strange)
    events = read_bytes(file.getvalue())
    assert addrs(events) == [1]
    assert events.meta["damaged_records"] == 2


def test_ids_that_stand_for_nothing_read_as_absent() -> None:
    file = io.BytesIO()
    one = writer.Writer(file)
    records = np.concatenate([record(1), record(2)])
    records["reason"] = [3, 4]
    records["stack"] = [5, 6]
    one.events(records)
    one.strings({4: "nonzero mapcount"})
    one.stacks({5: (1,)})
    events = read_bytes(file.getvalue())
    assert list(events.records["reason"]) == [0, 4]
    assert list(events.records["stack"]) == [5, 0]


def test_hostile_sync_marks_cost_linear_time() -> None:
    fields = struct.pack("<4sIII", framing.SYNC, FrameType.EVENTS, framing.MAX_PAYLOAD, 1)
    header = fields + struct.pack("<I", zlib.crc32(fields))
    events = read_bytes(framing.file_header() + header * 50_000)  # quadratic: 25 GB of checksums
    assert events.meta["damaged_frames"] == 1


def test_what_is_no_capture_is_said(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with pytest.raises(BadInput, match=r"notes.txt: not a zaptrace capture"):
        reader.read(text)
    with pytest.raises(Missing, match=r"nowhere: cannot be read"):
        reader.read(tmp_path / "nowhere")
    newer = bytearray(SAMPLE)
    newer[8] = 2
    with pytest.raises(BadInput, match="version 2"):
        read_bytes(bytes(newer))


def test_long_strings_and_deep_stacks_are_cut_and_many_are_split() -> None:
    file = io.BytesIO()
    one = writer.Writer(file)
    one.strings(dict.fromkeys(range(1, 6000), "x" * 5000))
    one.stacks({number: range(2000) for number in range(1, 3000)})
    events = read_bytes(file.getvalue())
    assert len(events.strings) == 5999
    assert {len(text) for text in events.strings.values()} == {4096}
    assert len(events.stacks) == 2999
    assert {len(stack) for stack in events.stacks.values()} == {1024}
    assert events.meta["damaged_frames"] == 0


def test_the_writer_leaves_a_stream_of_its_caller_open() -> None:
    file: BinaryIO = io.BytesIO()
    with writer.Writer(file) as one:
        one.events(record(1))
    assert not file.closed
