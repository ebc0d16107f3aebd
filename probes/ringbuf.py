"""The BPF ring buffer, mapped and read in bulk.

Layout (kernel/bpf/ringbuf.c): a page with the consumer's position, which we
write; a page with the producer's position; the data, mapped twice in a row so
that what wraps around lies in one piece.  Each record has 8 bytes in front: its
length with two flags, and an offset that is the kernel's own.

All our records have one length, so that the buffer is an array and reading it is
a copy: no Python runs per record.
"""

from __future__ import annotations

import mmap

import numpy as np
import numpy.typing as npt

from zaptrace.model.errors import CannotTell

HEADER = 8
BUSY = np.uint32(1 << 31)
"""The producer is still writing it: nothing after it may be read."""
DISCARD = np.uint32(1 << 30)
"""The producer thought better of it."""
_LENGTH = np.uint32(~(int(BUSY) | int(DISCARD)) & 0xFFFFFFFF)

Bytes = npt.NDArray[np.uint8]


class RingBuffer:
    """The consumer's side of one ring buffer.

    Args:
        descriptor: of the BPF map.
        size: bytes of data: a power of two and a multiple of the page.
        length: bytes of each record, without its header.

    Raises:
        OSError: it cannot be mapped.
    """

    def __init__(self, descriptor: int, size: int, length: int) -> None:
        page = mmap.PAGESIZE
        self._consumer_map = mmap.mmap(descriptor, page, mmap.MAP_SHARED)
        self._producer_map = mmap.mmap(
            descriptor, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page
        )
        self._consumer = np.frombuffer(self._consumer_map, np.uint64, 1)
        self._producer = np.frombuffer(self._producer_map, np.uint64, 1)
        self._data = np.frombuffer(self._producer_map, np.uint8, 2 * size, page)
        self._size = size
        self._length = length

    def read(self) -> Bytes:
        """Take what is there: shape (n, length), oldest first.

        Raises:
            CannotTell: the buffer does not hold what our program writes.
        """
        # Both positions only grow; their order of reading matters on weakly ordered
        # CPUs only, and neither x86_64 nor s390x is one.
        begin, end = int(self._consumer[0]), int(self._producer[0])
        ready, taken = ready_records(self._data, begin % self._size, end - begin, self._length)
        self._consumer[0] = begin + taken
        return ready

    @property
    def is_busy(self) -> bool:
        """Whether something has been begun that could not be read yet."""
        return bool(self._consumer[0] != self._producer[0])

    def close(self) -> None:
        """Unmap it."""
        del self._consumer, self._producer, self._data
        self._consumer_map.close()
        self._producer_map.close()


def ready_records(data: Bytes, start: int, available: int, length: int) -> tuple[Bytes, int]:
    """Return the finished records of a stretch of the buffer, copied.

    Args:
        data: the buffer, twice in a row.
        start: where the stretch begins.
        available: bytes that the producer has reserved after `start`.
        length: bytes of each record, without its header; a multiple of 8.

    Returns:
        The records, shape (n, length), without those that were discarded; and
        how many bytes are done with.  What stands after a busy record is left.

    Raises:
        CannotTell: a record of another length.
    """
    stride = HEADER + length
    count = available // stride
    slots = data[start : start + count * stride].reshape(count, stride)
    headers = slots.view(np.uint32)[:, 0]
    if np.all(headers == length):  # all finished, none discarded: one copy
        return slots.copy()[:, HEADER:], count * stride
    busy = np.flatnonzero(headers & BUSY)
    finished = int(busy[0]) if len(busy) else count
    headers = headers[:finished]
    if np.any((headers & _LENGTH) != length):
        raise CannotTell("the ring buffer holds records that are not ours")
    kept = (headers & DISCARD) == 0
    return slots[:finished][kept, HEADER:], finished * stride
