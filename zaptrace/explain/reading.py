"""A reading: one cause that the evidence leaves open, and its sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from zaptrace.explain.predicates import Case
from zaptrace.model.verdict import Reference, Sentence

Speaks = tuple[str, tuple[Reference, ...]]


@dataclass(frozen=True, slots=True)
class Reading:
    """One cause.

    Attributes:
        possible: whether the evidence leaves it open.
        text: the cause in words.
        speaks: what speaks for it, and what that rests on; None when nothing does.
    """

    possible: Callable[[Case], bool]
    text: str | Callable[[Case], str]
    speaks: Callable[[Case], Speaks | None] = lambda _case: None


def numbered(causes: Sequence[tuple[str, tuple[Reference, ...]]]) -> Iterator[Sentence]:
    """Yield a sentence for each cause that is left open, with what it rests on."""
    for number, (cause, rests_on) in enumerate(causes, start=1):
        yield Sentence(f"Reading {number} of {len(causes)}: {cause}.", rests_on, reading=True)
