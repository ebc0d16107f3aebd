"""A CPU's pipe: files made here stand for it, page by page."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from probes.rawpipes import RawPipe
from zaptrace.ftrace.formats import PageHeader, TraceField
from zaptrace.ftrace.subbuffers import CpuRing

HEADER = PageHeader(TraceField(0, 8), TraceField(8, 8), 16, 128)
PLAIN, STACKED, STACK = 1500, 1501, 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """per_cpu/cpu3 of an instance."""
    made = tmp_path / "cpu3"
    made.mkdir()
    (made / "trace_pipe_raw").touch()
    stats(made, 0, 0)
    return made


@pytest.fixture
def pipe(folder: Path) -> Iterator[RawPipe]:
    made = RawPipe(folder, HEADER, frozenset({STACKED}))
    yield made
    made.close()


def stats(folder: Path, overrun: int, dropped: int) -> None:
    (folder / "stats").write_text(
        f"entries: 9\noverrun: {overrun}\ncommit overrun: 0\nbytes: 5\n"
        f"oldest event ts:     3.1\nnow ts:  4.2\ndropped events: {dropped}\nread events: 7\n"
    )


def record(kind: int, pid: int = 1) -> bytes:
    """8 bytes, 5 ns after the one before."""
    word = 2 << 27 | 5 if struct.pack("=H", 1) == b"\0\1" else 5 << 5 | 2
    return struct.pack("=IHHi", word, kind, 0, pid)


def write(folder: Path, *records: bytes, stamp: int = 1000, flags: int = 0) -> None:
    data = b"".join(records)
    raw = struct.pack("=QQ", stamp, len(data) | flags) + data
    with (folder / "trace_pipe_raw").open("ab") as file:
        file.write(raw.ljust(128, b"\0"))


def kinds(ring: CpuRing) -> list[int]:
    return [int(ring.data[start : start + 2].view(np.uint16)[0]) for start in ring.starts.tolist()]


def test_all_pages_at_once(folder: Path, pipe: RawPipe) -> None:
    write(folder, record(PLAIN), record(PLAIN))
    write(folder, record(STACKED), record(STACK), stamp=2000)
    ring, until = pipe.read()
    assert (ring.cpu, kinds(ring), until) == (3, [PLAIN, PLAIN, STACKED, STACK], None)
    assert ring.stamps.tolist() == [1005, 1010, 2005, 2010]
    ring, until = pipe.read()
    assert (kinds(ring), until, ring.lost) == ([], None, 0)


def test_a_stack_that_comes_later_meets_its_record(folder: Path, pipe: RawPipe) -> None:
    write(folder, record(PLAIN), record(STACKED))
    ring, until = pipe.read()
    assert (kinds(ring), until) == ([PLAIN], 1010)
    write(folder, record(STACK), record(STACKED), stamp=1010)
    ring, until = pipe.read()
    assert (kinds(ring), until) == ([STACKED, STACK], 1020)
    assert ring.stamps.tolist() == [1010, 1015]
    ring, until = pipe.read()
    assert (kinds(ring), until) == ([STACKED], None), "a stack that never comes is not waited for"
    assert (kinds(pipe.read()[0]), pipe.read()[1]) == ([], None)


def test_what_was_lost_is_reported_once(folder: Path, pipe: RawPipe) -> None:
    stats(folder, 10, 2)
    write(folder, record(PLAIN))
    assert pipe.read()[0].lost == 12
    write(folder, record(PLAIN))
    assert pipe.read()[0].lost == 0
    stats(folder, 11, 2)
    write(folder, record(PLAIN))
    assert pipe.read()[0].lost == 1


def test_without_the_buffers_counters_the_pages_tell(folder: Path, pipe: RawPipe) -> None:
    (folder / "stats").write_text("")
    write(folder, record(PLAIN), struct.pack("=Q", 40), flags=0)
    raw = (folder / "trace_pipe_raw").read_bytes()
    marked = raw[:8] + struct.pack("=Q", 12 | 3 << 30) + raw[16:]
    (folder / "trace_pipe_raw").write_bytes(marked)
    ring, _ = pipe.read()
    assert (kinds(ring), ring.lost) == ([PLAIN], 40)


def test_an_invalid_page_is_reported_and_the_next_one_read(folder: Path, pipe: RawPipe) -> None:
    write(folder, record(PLAIN), flags=4096)
    write(folder, record(STACK))
    ring, _ = pipe.read()
    assert kinds(ring) == [STACK]
    assert ring.damage == ["CPU 3: a page claims 4108 bytes of records"]
