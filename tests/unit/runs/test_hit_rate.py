"""Hit rates: against values from elsewhere, and against a simulation."""

from __future__ import annotations

import numpy as np
import pytest

from zaptrace.runs.hit_rate import boots_needed, passes_unseen, wilson


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        # R: prop.test(hits, trials, correct = FALSE)$conf.int
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (1, 29, 0.006113, 0.1717552),
        (81, 263, 0.2552700, 0.3662050),
    ],
)
def test_the_interval_is_wilsons(hits: int, trials: int, low: float, high: float) -> None:
    assert wilson(hits, trials) == pytest.approx((low, high), abs=2e-4)


def test_nothing_tried_is_nothing_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


def test_passing_unseen_is_what_a_simulation_says() -> None:
    rng = np.random.default_rng(1)
    rates = rng.random(400_000)
    alike = rates[rng.binomial(5, rates) == 4]  # rates that gave 4 hits in 5 boots
    unseen = (1 - alike) ** 3
    assert passes_unseen(4, 5, 3) == pytest.approx(unseen.mean(), rel=0.03)


def test_no_boots_show_nothing() -> None:
    assert passes_unseen(3, 3, 0) == pytest.approx(1.0)


def test_the_boots_needed_are_just_enough() -> None:
    boots = boots_needed(1, 3, 0.1)
    assert passes_unseen(1, 3, boots) <= 0.1 < passes_unseen(1, 3, boots - 1)
    assert boots_needed(0, 3, 0.0, most=50) == 50
