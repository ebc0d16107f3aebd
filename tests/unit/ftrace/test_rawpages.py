"""Sub-buffers as trace_pipe_raw gives them: made here, and taken from this very kernel."""

from __future__ import annotations

import itertools
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaptrace.ftrace.formats import PageHeader, TraceField, parse_header_page
from zaptrace.ftrace.rawpages import read_page
from zaptrace.ftrace.subbuffers import Broken, CpuRing, parse

TRACING = Path("/sys/kernel/tracing")
HEADER = PageHeader(TraceField(0, 8), TraceField(8, 8), 16, 4096)
TRACE_PRINT = 5  # enum trace_type, kernel/trace/trace.h

both = pytest.mark.parametrize("order", ["<", ">"])


def page(order: str, stamp: int, commit: int, data: bytes) -> bytes:
    return (struct.pack(f"{order}QQ", stamp, commit) + data).ljust(4096, b"\0")


@both
def test_a_page_without_loss(order: str) -> None:
    found, lost = read_page(page(order, 77, 8, b"12345678zz"), HEADER, order)
    assert (found.stamp, found.data, found.consumed, lost) == (77, b"12345678", 0, 0)


@both
def test_lost_records_are_counted_after_the_data(order: str) -> None:
    data = b"12345678" + struct.pack(f"{order}Q", 99)
    found, lost = read_page(page(order, 1, 8 | 3 << 30, data), HEADER, order)
    assert (found.data, lost) == (b"12345678", 99)


@both
def test_lost_records_without_room_for_their_number(order: str) -> None:
    found, lost = read_page(page(order, 1, 4080 | 1 << 31, b"x" * 4080), HEADER, order)
    assert (len(found.data), lost) == (4080, 1)


def test_a_commit_of_four_bytes_on_a_big_endian_machine() -> None:
    header = PageHeader(TraceField(0, 8), TraceField(8, 4), 12, 4096)
    raw = struct.pack(">QI", 5, 4 | 1 << 31) + b"abcd"
    found, lost = read_page(raw, header, ">")
    assert (found.stamp, found.data, lost) == (5, b"abcd", 1)


@pytest.mark.parametrize("raw", [b"", b"x" * 15, page("<", 1, 4081, b"")])
def test_what_is_no_page_is_said_to_be_broken(raw: bytes) -> None:
    with pytest.raises(Broken):
        read_page(raw, HEADER, "<")


@given(st.binary(max_size=200), st.sampled_from("<>"))
def test_nothing_in_a_page_can_make_it_fail(raw: bytes, order: str) -> None:
    try:
        found, lost = read_page(raw, HEADER, order)
    except Broken:
        return
    ring = parse(0, [found, found], order)
    assert lost >= 0
    assert (ring.starts + ring.sizes <= len(ring.data)).all()


@pytest.fixture
def instance() -> Iterator[Path]:
    """A tracing instance of this kernel."""
    folder = TRACING / "instances" / f"zaptrace_test_{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no tracefs here: {error}")
    try:
        yield folder
    finally:
        folder.rmdir()


def drain(instance: Path) -> tuple[list[CpuRing], list[int]]:
    """All that the instance holds, by CPU, and what each CPU lost."""
    order = "<" if sys.byteorder == "little" else ">"
    header = parse_header_page((TRACING / "events/header_page").read_text())
    rings, losses = [], []
    for cpu, folder in enumerate(sorted(instance.glob("per_cpu/cpu*"))):
        descriptor = os.open(folder / "trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
        pages, lost = [], 0
        try:
            while raw := os.read(descriptor, header.size):
                one, more = read_page(raw, header, order)
                pages.append(one)
                lost += more
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)
        rings.append(parse(cpu, pages, order))
        losses.append(lost)
    return rings, losses


def marks(ring: CpuRing) -> list[bytes]:
    """The texts written to trace_marker."""
    found = []
    for start, size in zip(ring.starts.tolist(), ring.sizes.tolist(), strict=True):
        raw = ring.data[start : start + size].tobytes()
        assert struct.unpack_from("=H", raw)[0] == TRACE_PRINT
        assert struct.unpack_from("=i", raw, 4)[0] == os.getpid()
        found.append(raw[16:].split(b"\0")[0].rstrip(b"\n"))
    return found


def test_exactly_23_markers_of_this_kernel(instance: Path) -> None:
    (instance / "trace_clock").write_text("boot")
    written = [b"mark %d " % number + b"x" * number * 9 for number in range(23)]
    with (instance / "trace_marker").open("wb", buffering=0) as marker:
        for text in written:
            marker.write(text)
    rings, losses = drain(instance)
    assert not any(ring.damage for ring in rings)
    found = sorted(
        (stamp, text)
        for ring in rings
        for stamp, text in zip(ring.stamps.tolist(), marks(ring), strict=True)
    )
    assert [text for _, text in found] == written
    assert losses == [0] * len(rings)
    assert all(a[0] < b[0] for a, b in itertools.pairwise(found))


def test_what_this_kernel_overwrote_is_counted(instance: Path) -> None:
    (instance / "buffer_size_kb").write_text("8")
    count = 2000
    with (instance / "trace_marker").open("wb", buffering=0) as marker:
        for number in range(count):
            marker.write(b"mark %d" % number)
    rings, losses = drain(instance)
    kept = sum(len(ring.starts) for ring in rings)
    assert 0 < kept < count
    assert kept + sum(losses) == count
