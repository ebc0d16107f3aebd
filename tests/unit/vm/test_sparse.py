"""The same bytes as were sent, and no block for those that are zero."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from vm import sparse


def received(data: bytes, path: Path, piece: int) -> None:
    source, sink = os.pipe()

    def send() -> None:
        with os.fdopen(sink, "wb", buffering=0) as pipe:
            for start in range(0, len(data), piece):
                pipe.write(data[start : start + piece])

    sender = threading.Thread(target=send)
    sender.start()
    sparse.receive(source, path, threading.Event())
    sender.join()


@pytest.mark.parametrize("piece", [1000, 65536, 1 << 20])
@pytest.mark.parametrize("tail", [0, 1, 65535])
def test_the_bytes_are_the_same(tmp_path: Path, piece: int, tail: int) -> None:
    data = bytes(200_000) + b"ELF" * 50_000 + bytes(300_000) + b"x" + bytes(tail)
    received(data, tmp_path / "file", piece)
    assert (tmp_path / "file").read_bytes() == data


def test_zeros_take_no_room(tmp_path: Path) -> None:
    received(b"\x7fELF" + bytes(64 << 20), tmp_path / "file", 1 << 20)
    status = (tmp_path / "file").stat()
    assert status.st_size == (64 << 20) + 4
    assert status.st_blocks * 512 <= 2 * sparse.CHUNK
    assert status.st_mode & 0o777 == 0o600


def test_nothing_at_all(tmp_path: Path) -> None:
    received(b"", tmp_path / "file", 1)
    assert (tmp_path / "file").read_bytes() == b""


def test_a_full_disk_names_the_file() -> None:
    source, sink = os.pipe()
    os.write(sink, b"x")
    os.close(sink)
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        sparse.receive(source, Path("/dev/full"), threading.Event())
