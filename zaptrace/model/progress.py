"""The progress of long work: plain data, drawn by the caller."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


class State(enum.Enum):
    """Where a step stands."""

    STARTED = "started"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Update:
    """One piece of news about one step.

    Attributes:
        step: the step's short name ("build", "boot"); also its key in `timing`.
        title: what a person reads ("Build the lab kernel").
        state: where the step stands.
        done: how much of `total` is done, or None when it cannot be counted.
        total: how much there is to do in all, or None.
        note: a few words on the state of affairs ("mm/memory.o"), or "".
        seconds: how long the step took (DONE and FAILED only), else None.
    """

    step: str
    title: str
    state: State
    done: int | None = None
    total: int | None = None
    note: str = ""
    seconds: float | None = None


Listener = Callable[[Update], None]


def ignore(update: Update) -> None:
    """Ignore progress: a listener that does nothing."""


class Step:
    """A step under way; made by `step()`."""

    def __init__(self, name: str, title: str, listener: Listener) -> None:
        self.name = name
        self.title = title
        self.note = ""
        self._listener = listener

    def advance(self, done: int | None = None, total: int | None = None, note: str = "") -> None:
        """Say how far the step has come."""
        self._listener(Update(self.name, self.title, State.RUNNING, done, total, note))


@contextlib.contextmanager
def step(
    name: str, title: str, listener: Listener, timing: dict[str, float] | None = None
) -> Iterator[Step]:
    """Tell `listener` of a step's start, news and end; add its seconds to `timing`.

    The last word on the step is what stands in `Step.note` when it ends.
    """
    started = time.monotonic()
    current = Step(name, title, listener)
    listener(Update(name, title, State.STARTED))
    state = State.FAILED
    try:
        yield current
        state = State.DONE
    finally:
        seconds = time.monotonic() - started
        if timing is not None:
            timing[name] = timing.get(name, 0.0) + seconds
        listener(Update(name, title, state, note=current.note, seconds=seconds))
