"""Steps report their start, their end and their failure, and are timed."""

from __future__ import annotations

import pytest

from zaptrace.model.progress import State, Update, step


def test_a_step_is_reported_and_timed() -> None:
    told: list[Update] = []
    timing = {"build": 1.0}
    with step("build", "Build", told.append, timing) as current:
        current.advance(1, 2, "mm/memory.o")
        current.note = "2 steps"
    assert [update.state for update in told] == [State.STARTED, State.RUNNING, State.DONE]
    assert told[1].done == 1
    assert told[-1].note == "2 steps"
    assert 1.0 < timing["build"] < 1.5  # the same name twice adds up


def test_a_failure_is_reported_and_passes_on() -> None:
    told: list[Update] = []
    with pytest.raises(RuntimeError), step("build", "Build", told.append):
        raise RuntimeError
    assert told[-1].state is State.FAILED
    assert told[-1].seconds is not None
