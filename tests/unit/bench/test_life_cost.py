"""What is said of boots with pages' lives beside boots without, of numbers that the test made."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.bench_life import LIMITS, PAIRS, compared
from zaptrace.arch import ARCHES

LIMIT = LIMITS["s390x"]


@pytest.mark.parametrize(("times", "met"), [(LIMIT - 0.01, True), (LIMIT + 0.01, False)])
def test_the_limit_is_for_what_the_boots_take_at_least(times: float, met: bool) -> None:
    busy = np.where(np.arange(PAIRS) % 3 == 1, 1.0, 1.8)  # two of three met a busy machine
    row = compared(ARCHES["s390x"], times * busy, np.ones(PAIRS))
    assert (row["ratio"], row["met"]) == (pytest.approx(times), met)
    assert f"of the pairs {times * 1.8:.2f} times" in row["conditions"], "it is not hidden"


def test_how_far_boots_are_from_each_other_is_said() -> None:
    without = np.array([1.0, 1.25, 1.0, 1.25, 1.0, 1.25, 1.0])
    row = compared(ARCHES["s390x"], without * 1.2, without)
    assert "half of them within 0%" in row["conditions"]
    assert row["ratio"] == pytest.approx(1.2) and row["met"] is True
