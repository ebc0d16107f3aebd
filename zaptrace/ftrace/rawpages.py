"""What one read of trace_pipe_raw gives: a sub-buffer with its header."""

from __future__ import annotations

from typing import Literal

from zaptrace.ftrace.formats import PageHeader, TraceField
from zaptrace.ftrace.subbuffers import MISSED, MISSED_EVENTS, MISSED_STORED, Broken, SubBuffer

_COUNT_SIZE = 8  # unsigned long of a 64-bit kernel


def read_page(raw: bytes, header: PageHeader, order: str) -> tuple[SubBuffer, int]:
    """Return the sub-buffer, and how many records were lost in front of it.

    Where records were lost and the kernel had no room for their number, it is
    at least 1 (ring_buffer_read_page, kernel/trace/ring_buffer.c).

    Args:
        order: the kernel's byte order, `<` or `>`.

    Raises:
        Broken: it is no sub-buffer.
    """
    if len(raw) < header.data_at:
        raise Broken(f"a sub-buffer of {len(raw)} bytes")
    commit = _number(raw, header.commit, order)
    size = commit & ~MISSED & 0xFFFFFFFF
    if size > len(raw) - header.data_at:
        raise Broken(f"a page claims {size} bytes of records")
    end = header.data_at + size
    lost = 1 if commit & MISSED_EVENTS else 0
    if lost and commit & MISSED_STORED:
        stored = raw[end : end + _COUNT_SIZE]
        lost = max(lost, int.from_bytes(stored, _byte_order(order)))
    stamp = _number(raw, header.stamp, order)
    return SubBuffer(stamp, raw[header.data_at : end]), lost


def _number(raw: bytes, place: TraceField, order: str) -> int:
    return int.from_bytes(raw[place.offset : place.offset + place.size], _byte_order(order))


def _byte_order(order: str) -> Literal["little", "big"]:
    return "little" if order == "<" else "big"
