"""The BPF ring buffer's consumer, on bytes laid out as kernel/bpf/ringbuf.c lays them out."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from probes.ringbuf import BUSY, DISCARD, HEADER, RingBuffer, ready_records
from zaptrace.model.errors import CannotTell

LENGTH = 24
STRIDE = HEADER + LENGTH
SIZE = 8 * STRIDE


def record(number: int, flags: int = 0, length: int = LENGTH) -> bytes:
    return struct.pack("=II", length | flags, 7) + struct.pack("=Q", number).ljust(LENGTH, b"\xee")


def ring(records: list[bytes], start: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """The data area, twice in a row, with records that begin at one place and wrap around."""
    once = bytearray(SIZE)
    for number, one in enumerate(records):
        for offset, byte in enumerate(one):
            once[(start + number * STRIDE + offset) % SIZE] = byte
    return np.frombuffer(bytes(once) * 2, np.uint8)


def numbers(ready: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> list[int]:
    return [int(value) for value in ready[:, :8].copy().view("=u8").ravel()]


@pytest.mark.parametrize("start", [0, STRIDE, 7 * STRIDE])
def test_records_come_in_order_also_around_the_end(start: int) -> None:
    data = ring([record(number) for number in range(5)], start)
    ready, taken = ready_records(data, start, 5 * STRIDE, LENGTH)
    assert numbers(ready) == [0, 1, 2, 3, 4]
    assert taken == 5 * STRIDE


def test_after_a_busy_record_nothing_is_read() -> None:
    data = ring([record(0), record(1, int(BUSY)), record(2)], 0)
    ready, taken = ready_records(data, 0, 3 * STRIDE, LENGTH)
    assert numbers(ready) == [0]
    assert taken == STRIDE


def test_discarded_records_are_passed_over() -> None:
    data = ring([record(0, int(DISCARD)), record(1), record(2, int(DISCARD))], 0)
    ready, taken = ready_records(data, 0, 3 * STRIDE, LENGTH)
    assert numbers(ready) == [1]
    assert taken == 3 * STRIDE


def test_nothing_there() -> None:
    ready, taken = ready_records(ring([], 0), 0, 0, LENGTH)
    assert (len(ready), taken) == (0, 0)


def test_what_was_read_does_not_change_when_the_ring_is_written_again() -> None:
    once = bytearray(ring([record(1)], 0).tobytes())
    ready, _ = ready_records(np.frombuffer(once, np.uint8), 0, STRIDE, LENGTH)
    once[HEADER] = 99
    assert numbers(ready) == [1]


def test_a_record_of_another_length_is_not_ours() -> None:
    data = ring([record(0), record(1, length=16)], 0)
    with pytest.raises(CannotTell, match="not ours"):
        ready_records(data, 0, 2 * STRIDE, LENGTH)


def test_a_mapped_ring_is_consumed(tmp_path: Path) -> None:
    """The positions' places in the map; a file stands for the map's descriptor."""
    page, length = mmap.PAGESIZE, 120
    size = 4 * page
    path = tmp_path / "ring"
    stride = HEADER + length
    one = b"".join(
        struct.pack("=II", length, 0) + struct.pack("=Q", number).ljust(length, b"\0")
        for number in range(size // stride)
    )
    path.write_bytes(
        bytes(page) + struct.pack("=Q", size + 3 * stride).ljust(page, b"\0") + one * 2
    )
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.pwrite(descriptor, struct.pack("=Q", size - 2 * stride), 0)
        buffer = RingBuffer(descriptor, size, length)
        last = size // stride
        assert numbers(buffer.read()) == [last - 2, last - 1, 0, 1, 2]
        assert len(buffer.read()) == 0
        buffer.close()
        assert struct.unpack("=Q", os.pread(descriptor, 8, 0)) == (size + 3 * stride,)
    finally:
        os.close(descriptor)
