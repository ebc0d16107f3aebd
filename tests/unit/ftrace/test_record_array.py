"""Copies of event records are event records, byte for byte."""

from __future__ import annotations

import numpy as np

from zaptrace.ftrace.record_array import joined, taken
from zaptrace.model.events import EVENT, Records, blank


def some(*clocks: int) -> Records:
    records = blank(len(clocks))
    records["clock"] = clocks
    records["comm"] = b"zapwork"
    return records


def test_joined() -> None:
    whole = joined([some(1, 2), blank(0), some(3, 4, 5)[::2]])
    assert whole.dtype == EVENT
    assert whole.tobytes() == some(1, 2, 3, 5).tobytes()
    assert joined([]).dtype == EVENT and len(joined([])) == 0
    whole["clock"] = 9
    assert whole["clock"].tolist() == [9] * 4


def test_taken_by_number_and_by_mask() -> None:
    records = some(1, 2, 3)
    assert taken(records, np.array([2, 0])).tobytes() == some(3, 1).tobytes()
    assert taken(records, records["clock"] > 1).tobytes() == some(2, 3).tobytes()
    assert taken(records, np.zeros(0, np.int64)).dtype == EVENT
    taken(records, np.array([0]))["clock"] = 9
    assert records["clock"].tolist() == [1, 2, 3]
