"""What BPF programs did not deliver, from counters made here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from probes.bpfkprobes import BpfKprobes, recursion_misses
from probes.bpflosses import COUNTS, BpfLosses, Counters, Counts
from probes.dynevents import Refused, own_name
from zaptrace.model.events import NO_CPU, Kind
from zaptrace.model.plan import ProbeSite

SITES = [
    ProbeSite("rmap_remove", "page_remove_rmap", 0, 0x1000, False, None),
    ProbeSite("page_free", "mm_page_free", 0, 0x2000, False, None),
]
NUMBERS = {"zt0_rmap_remove_7": 0, "zt1_page_free_7": 1}


class Kernel:
    """Counters of a kernel with two CPUs.

    Attributes:
        late: hits that enter their program only when the hits have been looked at.
    """

    def __init__(self) -> None:
        self.hits = self.missed = self.recursions = self.late = 0
        self.counts = np.zeros((2, 2), COUNTS)
        self.readable = True

    def hit(self, count: int, *, skipped: int = 0) -> None:
        self.hits += count
        self.counts["entered"][0, 0] += count - skipped

    def losses(self) -> BpfLosses:
        return BpfLosses(Counters(self._profile, self._programs, self._free), SITES, NUMBERS)

    def _profile(self) -> dict[str, tuple[int, int]]:
        self.counts["entered"][0, 0] += self.late
        self.late = 0
        return {"zt0_rmap_remove_7": (self.hits, self.missed)} if self.readable else {}

    def _programs(self) -> Counts:
        return self.counts.copy()

    def _free(self) -> dict[str, int]:
        return {"zt1_page_free_7": self.recursions}


def told(losses: BpfLosses) -> list[tuple[int, int, int]]:
    """Site, CPU and number of each loss, now."""
    losses.hurry()
    records = losses.since(5)
    assert set(records["kind"]) <= {Kind.LOST} and set(records["clock"]) <= {5}
    rows = (records[name].tolist() for name in ("site", "cpu", "nr"))
    return list(zip(*rows, strict=True))


def test_hits_that_were_missed_and_hits_that_bpf_skipped_are_lost() -> None:
    kernel = Kernel()
    kernel.hit(3, skipped=3)  # before the program was there
    losses = kernel.losses()
    kernel.hit(100)
    assert told(losses) == []
    kernel.hit(50, skipped=4)
    kernel.missed += 2
    assert told(losses) == [(0x1000, NO_CPU, 6)]
    assert told(losses) == []


def test_frees_that_came_while_one_was_judged_are_lost() -> None:
    kernel = Kernel()
    kernel.recursions = 9
    losses = kernel.losses()
    kernel.recursions += 2
    assert told(losses) == [(0x2000, NO_CPU, 2)]


def test_events_that_found_the_ring_full_are_lost_where_they_were_taken() -> None:
    kernel = Kernel()
    losses = kernel.losses()
    kernel.counts["failed"][0, 1] = 7
    kernel.counts["failed"][1, 0] = 2**40
    assert told(losses) == [(0x1000, 1, 7), (0x2000, 0, 2**32 - 1)]
    assert told(losses) == []


def test_a_hit_that_is_on_its_way_into_the_program_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = Kernel()
    losses = kernel.losses()
    kernel.hit(2, skipped=2)

    def enter(_seconds: float) -> None:
        kernel.counts["entered"][0, 0] += 1

    monkeypatch.setattr("probes.bpflosses.time.sleep", enter)
    assert told(losses) == [(0x1000, NO_CPU, 1)]


def test_a_kernel_that_is_busy_at_the_start_is_not_accused() -> None:
    kernel = Kernel()
    kernel.hit(10, skipped=10)
    kernel.hits += 5
    kernel.late = 5  # between the look at the hits and that at the entries
    losses = kernel.losses()
    kernel.hit(20)
    assert told(losses) == []
    kernel.hit(20, skipped=1)
    assert told(losses) == [(0x1000, NO_CPU, 1)]


def test_a_profile_that_cannot_be_read_once_makes_nothing_count_twice() -> None:
    kernel = Kernel()
    kernel.hit(10, skipped=10)
    kernel.missed = 3
    losses = kernel.losses()
    kernel.readable = False
    assert told(losses) == []
    kernel.readable = True
    assert told(losses) == []
    kernel.missed += 1
    assert told(losses) == [(0x1000, NO_CPU, 1)]


def test_stacks_and_reasons_without_a_place_are_noted() -> None:
    kernel = Kernel()
    losses = kernel.losses()
    assert told(losses) == [] and losses.notes == []
    kernel.counts["stackless"][0, 0] = 1200
    kernel.counts["stackless"][1, 1] = 34
    kernel.counts["reasonless"][0, 1] = 5
    assert told(losses) == []
    assert losses.notes == [
        "stacks that the kernel's map had no place for: 1,234",
        "reasons that the kernel's map had no place for: 5",
    ]


def test_nothing_is_looked_at_all_the_time() -> None:
    kernel = Kernel()
    losses = kernel.losses()
    kernel.missed += 1
    assert len(losses.since(1)) == 0


def test_a_program_is_held_at_its_event_until_it_is_closed(tmp_path: Path) -> None:
    calls = []

    def attach(program: int, event: int) -> int:
        calls.append((program, event))
        return os.open(os.devnull, os.O_RDONLY)

    (tmp_path / "kprobe_events").touch()
    folder = tmp_path / "events" / own_name() / "zt0_zap_7"
    folder.mkdir(parents=True)
    (folder / "id").write_text("1234\n")
    kprobes = BpfKprobes(tmp_path, attach)
    kprobes.attach("zt0_zap_7", "unmap_page_range+0x10", 5)
    assert calls == [(5, 1234)]
    place = f"p:{own_name()}/zt0_zap_7 unmap_page_range+0x10\n"
    assert (tmp_path / "kprobe_events").read_text() == place
    (held,) = kprobes._held
    kprobes.close()
    with pytest.raises(OSError):
        os.fstat(held)
    kprobes.close()


def test_what_cannot_be_attached_is_refused(tmp_path: Path) -> None:
    def attach(program: int, event: int) -> int:
        raise OSError(22, "Invalid argument")

    kprobes = BpfKprobes(tmp_path, attach)
    with pytest.raises(Refused, match="No such file"):
        kprobes.attach("zt0_zap_7", "unmap_page_range", 5)
    (tmp_path / "kprobe_events").touch()
    folder = tmp_path / "events" / own_name() / "zt0_zap_7"
    folder.mkdir(parents=True)
    (folder / "id").write_text("1234\n")
    with pytest.raises(Refused, match="Invalid argument"):
        kprobes.attach("zt0_zap_7", "unmap_page_range", 5)


def test_recursion_misses_where_the_kernel_counts_them(tmp_path: Path) -> None:
    (tmp_path / "7").write_text("prog_type:\t17\nrun_cnt:\t0\nrecursion_misses:\t42\n")
    (tmp_path / "8").write_text("prog_type:\t17\nrun_cnt:\t0\n")
    assert [recursion_misses(one, tmp_path) for one in (7, 8, 9)] == [42, None, None]
