"""Which process a thread belonged to, when it is gone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import probes.tgids
from probes.tgids import Tgids

NO_SUCH = 1 << 23
"""Above the highest number that Linux gives a thread (PID_MAX_LIMIT, 2^22)."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with notes as the kernel writes them, of so many threads that reading takes time."""
    notes = (f"{NO_SUCH + number} {NO_SUCH}\n" for number in range(200_000))
    (tmp_path / "saved_tgids").write_text("".join(notes))
    return tmp_path


def asked_twice(tasks: Tgids) -> list[int]:
    """What is said of one thread, and of another one right after."""
    return [int(tasks.tgids(np.array([NO_SUCH + n], np.int32))[0]) for n in (1, 2)]


def test_a_filter_gets_every_thread_also_one_after_another(root: Path) -> None:
    assert asked_twice(Tgids(root, certain=True)) == [NO_SUCH, NO_SUCH]


def test_otherwise_reading_the_notes_takes_a_small_share_of_the_time(root: Path) -> None:
    assert asked_twice(Tgids(root)) == [NO_SUCH, -1]


def test_one_that_is_noted_only_now_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes.tgids, "_LAST_STEPS", 60.0)  # a busy machine is no failure
    notes = tmp_path / "saved_tgids"
    notes.touch()

    class Late(Tgids):
        looks = 0

        def _look_up(self, pids: set[int]) -> bool:
            self.looks += 1
            if self.looks == 3:
                notes.write_text("9000000 8999999\n")
            return super()._look_up(pids)

    late = Late(tmp_path, certain=True)
    assert late.tgids(np.array([9_000_000], np.int32)).tolist() == [8_999_999]
    assert late.looks == 3


def test_what_the_kernel_has_no_notes_of_stays_unknown_and_nothing_waits(tmp_path: Path) -> None:
    assert asked_twice(Tgids(tmp_path, certain=True)) == [-1, -1]
