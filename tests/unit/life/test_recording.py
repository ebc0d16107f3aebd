from __future__ import annotations

import contextlib
import mmap
import os
import resource
from pathlib import Path

import numpy as np
import pytest

from zaptrace.life.record_layout import SHARED, STORED
from zaptrace.life.recording import Recording
from zaptrace.model.errors import Missing


def test_what_a_plugin_writes_is_read() -> None:
    with Recording(records=100, nodes=10) as some:
        other = mmap.mmap(some.fd, 0)
        shared = np.frombuffer(other, SHARED, 1)
        assert shared["len"][0] == 0
        some.arm(0x1000, 0x2000, 0x3000)
        assert (shared["lo"][0], shared["len"][0], shared["direct"][0]) == (0x1000, 0x2000, 0x3000)
        assert not len(some.stored())
        shared["count"] = 2
        records = np.frombuffer(other, STORED, 100, int(shared["records_at"][0]))
        records["node"][:2] = 7, 8
        some.mark_stop()
        shared["count"] = 1000  # more than there is room for
        assert some.stop == 2
        assert some.stored()["node"][:3].tolist() == [7, 8, 0]
        assert len(some.stored()) == 100


def _open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def test_without_room_for_it_one_line_says_so() -> None:
    """`ulimit -f` holds for shared memory, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = _open_files()
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(Missing, match=r"^no memory to record them in: File too large$"):
            Recording()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert _open_files() == before


def test_it_is_nowhere_on_a_disk_and_closed_at_its_end() -> None:
    with Recording(records=1, nodes=1) as some:
        assert str(Path(f"/proc/self/fd/{some.fd}").readlink()).startswith("/memfd:")
        inode = os.fstat(some.fd).st_ino
        fd = some.fd
    with contextlib.suppress(OSError):  # the number may be another file's by now
        assert os.fstat(fd).st_ino != inode
