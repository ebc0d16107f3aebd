"""Two rings as one stream; files stand for the maps' descriptors."""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from probes.bpfrings import ALL, Rings
from probes.ringbuf import BUSY, HEADER, RingBuffer

LENGTH = 24
SIZE = mmap.PAGESIZE
SECOND = 1_000_000_000


class Written:
    """The producer's side of a ring, and the consumer's."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(2 * mmap.PAGESIZE + 2 * SIZE))
        self._file = os.open(path, os.O_RDWR)
        self.ring = RingBuffer(self._file, SIZE, LENGTH)
        self._end = 0

    def add(self, clock: int, flags: int = 0) -> Callable[[], object]:
        """Write a record; what finishes it, when it is busy."""
        at = 2 * mmap.PAGESIZE + self._end
        record = struct.pack("=IIQ", LENGTH | flags, 0, clock)
        os.pwrite(self._file, record, at)
        self._end += HEADER + LENGTH
        os.pwrite(self._file, struct.pack("=Q", self._end), mmap.PAGESIZE)
        return lambda: os.pwrite(self._file, struct.pack("=I", LENGTH), at)

    def close(self) -> None:
        self.ring.close()
        os.close(self._file)


@pytest.fixture
def rings(tmp_path: Path) -> Iterator[tuple[Written, Written, Rings]]:
    first, spare = Written(tmp_path / "first"), Written(tmp_path / "spare")
    yield first, spare, Rings(first.ring, spare.ring)
    first.close()
    spare.close()


def now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def read(rings: Rings) -> tuple[list[int], int]:
    raw, horizon = rings.read()
    return [int(clock) for clock in raw[:, :8].copy().view("=u8").ravel()], horizon


def test_without_the_spare_ring_nothing_is_held_back(
    rings: tuple[Written, Written, Rings],
) -> None:
    first, _, both = rings
    clock = now() + SECOND
    first.add(clock)
    assert read(both) == ([clock], ALL)
    assert read(both) == ([], ALL)


def test_what_is_newer_than_the_first_rings_last_record_waits_for_more(
    rings: tuple[Written, Written, Rings],
) -> None:
    first, spare, both = rings
    clock = now() + SECOND
    first.add(clock)
    spare.add(clock - 1)
    spare.add(clock + 5)
    assert read(both) == ([clock, clock - 1, clock + 5], clock)
    assert read(both) == ([], clock), "the first ring may yet have one that is older"
    first.add(clock + 9)
    assert read(both) == ([clock + 9], ALL)


def test_nothing_waits_for_a_first_ring_in_which_nothing_happens(
    rings: tuple[Written, Written, Rings],
) -> None:
    _, spare, both = rings
    clock = now() - 2 * SECOND
    spare.add(clock)
    clocks, horizon = read(both)
    assert clocks == [clock] and horizon >= clock


def test_all_waits_for_a_record_that_is_being_written(
    rings: tuple[Written, Written, Rings],
) -> None:
    first, spare, both = rings
    clock = now() + SECOND
    finish = spare.add(clock, int(BUSY))
    first.add(clock + 1)
    assert read(both) == ([clock + 1], 0)
    finish()
    assert read(both) == ([clock], clock + 1)
    assert read(both) == ([], ALL)
