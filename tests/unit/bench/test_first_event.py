"""What is said of first events beside imports of bcc, of numbers that the test made."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.bench_live import ABOVE_IMPORT, FRESH_PAIRS, fresh_python


def row(above: list[float], alone: list[float]) -> dict[str, Any]:
    """The row of imports that took so long, and first events that took so much longer."""
    fresh = [one + more for one, more in zip(alone, above, strict=True)]
    found = {"fresh": fresh, "import_bcc": alone, "warm_fresh": 1.0, "warm_import": 0.5}
    return fresh_python("s390x", found)


@pytest.mark.parametrize(("less", "met"), [(0.01, True), (-0.01, False)])
def test_the_limit_is_what_comes_on_top_of_an_import(less: float, met: bool) -> None:
    told = row([ABOVE_IMPORT - less] * FRESH_PAIRS, [1.0] * FRESH_PAIRS)
    assert told["met"] is met and told["peer_value"] == 1


def test_each_is_compared_with_its_neighbour() -> None:
    alone = [1.0] * 3 + [2.0] * 3 + [3.5] * 3  # the disk becomes slower on the way
    told = row([4.5] * 4 + [2.0] * 5, alone)
    assert told["value"] - told["peer_value"] > ABOVE_IMPORT
    assert told["met"] is True
    assert "median 2.00 s more, each 2.00 to 4.50 s" in told["conditions"]
    assert "alone took 1.00 to 3.50 s" in told["conditions"]
