"""How often a flaky bug strikes, and how sure that is (pure)."""

from __future__ import annotations

import math

Z95 = 1.959963984540054
"""Standard normal quantile of a two-sided 95% interval."""


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a rate; 0 to 1 when nothing was tried.

    Unlike hits/trials ± something it stays inside 0 to 1 and means what it says
    for few trials, and for none or all of them hitting.
    """
    if trials == 0:
        return 0.0, 1.0
    rate, square = hits / trials, Z95 * Z95
    middle = rate + square / (2 * trials)
    spread = Z95 * math.sqrt(rate * (1 - rate) / trials + square / (4 * trials * trials))
    scale = 1 + square / trials
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def passes_unseen(hits: int, trials: int, boots: int) -> float:
    """Return the probability that a kernel with the bug boots `boots` times without it.

    Of a rate of which only `hits` in `trials` are known (every rate alike
    before): the mean of (1 - rate)^boots over Beta(hits + 1, misses + 1).
    """
    misses = trials - hits
    return math.exp(
        math.lgamma(misses + 1 + boots)
        - math.lgamma(misses + 1)
        + math.lgamma(trials + 2)
        - math.lgamma(trials + 2 + boots)
    )


def boots_needed(hits: int, trials: int, unseen: float, most: int = 1000) -> int:
    """Return the clean boots that a kernel with the bug passes with no more than a probability.

    Args:
        unseen: that probability.
        most: the largest number that is considered.
    """
    boots = range(1, most)
    return next((n for n in boots if passes_unseen(hits, trials, n) <= unseen), most)
