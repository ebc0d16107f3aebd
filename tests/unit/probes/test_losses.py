"""What kprobes could not take, from a kprobe_profile made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from probes import losses
from probes.dynevents import DynamicEvents
from probes.losses import Misses
from zaptrace.model.events import ABSENT, NO_CPU, Kind
from zaptrace.model.plan import ProbeSite

NAMES = {
    "zt0_zap_7": ProbeSite("zap", "unmap_page_range", 8, 0x1008, True, None),
    "zt1_bad_pte_7": ProbeSite("bad_pte", "print_bad_pte", 0, None, False, None),
}


def profile(root: Path, zap: int, bad_pte: int) -> None:
    (root / "kprobe_profile").write_text(
        f"  {'zt0_zap_7':<44} {500:>15} {zap:>15}\n"
        f"  {'somebody_elses':<44} {1:>15} {99:>15}\n"
        f"  {'zt1_bad_pte_7':<44} {0:>15} {bad_pte:>15}\nnonsense\n"
    )


def misses_of(root: Path) -> Misses:
    return Misses(DynamicEvents(root, "kprobe_events", "zaptrace_7_1").missed, NAMES)


def test_only_new_misses_of_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_EVERY", 0.0)
    profile(tmp_path, 3, 0)
    misses = misses_of(tmp_path)
    assert len(misses.since(50)) == 0
    profile(tmp_path, 5, 2**40)
    records = misses.since(77)
    assert set(records["kind"]) == {Kind.LOST} and set(records["cpu"]) == {NO_CPU}
    assert records["site"].tolist() == [0x1008, ABSENT]
    assert records["nr"].tolist() == [2, 2**32 - 1]
    assert records["clock"].tolist() == [77, 77]


def test_what_is_missed_in_the_last_second_is_reported_by_a_last_read(tmp_path: Path) -> None:
    profile(tmp_path, 0, 0)
    misses = misses_of(tmp_path)
    profile(tmp_path, 5, 0)
    assert len(misses.since(50)) == 0  # not yet: it is looked at once a second
    misses.hurry()
    assert misses.since(51)["nr"].tolist() == [5]
    assert len(misses.since(52)) == 0


def test_a_profile_that_cannot_be_read_once_makes_nothing_count_twice(tmp_path: Path) -> None:
    profile(tmp_path, 3, 0)
    misses = misses_of(tmp_path)
    (tmp_path / "kprobe_profile").rename(tmp_path / "away")
    misses.hurry()
    assert len(misses.since(1)) == 0
    (tmp_path / "away").rename(tmp_path / "kprobe_profile")
    misses.hurry()
    assert len(misses.since(2)) == 0
    profile(tmp_path, 4, 0)
    misses.hurry()
    assert misses.since(3)["nr"].tolist() == [1]
