"""A row of the decision table, and how its causes are ranked by what else the console says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from zaptrace.model.clues import Cause, Clue
from zaptrace.model.splats import Splat
from zaptrace.triage.console import Console

MOST_LINES = 64
"""Reports that a clue names; `seen` says how many there are."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An observation: a sentence, and the reports that it rests on (at least one)."""

    text: str
    splats: tuple[Splat, ...]


Test = Callable[[Splat, Console], bool]


@dataclass(frozen=True, slots=True)
class Sign:
    """Something else that a report says, which makes a cause likelier or less likely.

    Attributes:
        weight: above 0 it speaks for the cause, below 0 against it.
        says: a phrase.
    """

    weight: int
    says: str
    holds: Test


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cause that an observation may have.

    Attributes:
        weight: how likely it is before anything else is known; only the order counts.
    """

    what: str
    weight: int
    signs: tuple[Sign, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the decision table; each field is needed.

    Attributes:
        name: as `--json` has it.
        title: the observation in a few words (at most 60 characters).
        sees: what is observed on a console.
        causes: what it may mean.
        measure: the next commands or measurements.
        source: commits, threads and functions that the row comes from.
    """

    name: str
    title: str
    sees: Callable[[Console], Iterable[Seen]]
    causes: tuple[Candidate, ...]
    measure: tuple[str, ...]
    source: str


def each(observe: Callable[[Splat, Console], str | None]) -> Callable[[Console], Iterator[Seen]]:
    """Make a row's `sees` of what is asked of one report; those that say the same are one."""

    def sees(console: Console) -> Iterator[Seen]:
        found: dict[str, list[Splat]] = {}
        for splat in console.splats:
            if text := observe(splat, console):
                found.setdefault(text, []).append(splat)
        for text, splats in found.items():
            yield Seen(text, tuple(splats))

    return sees


def apply(row: Row, console: Console) -> Iterator[Clue]:
    """Yield what a row makes of a console."""
    for seen in row.sees(console):
        many = len(seen.splats)
        first = seen.splats[:MOST_LINES]
        yield Clue(
            row=row.name,
            title=row.title,
            seen=seen.text if many == 1 else f"{seen.text} ({many} reports)",
            causes=rank(row.causes, seen, console),
            measure=row.measure,
            source=row.source,
            lines=tuple(splat.line or 0 for splat in first),
            logs=tuple(splat.log for splat in first if splat.log),
            pfns=tuple(dict.fromkeys(splat.pfn for splat in first if splat.pfn is not None)),
        )


def rank(candidates: tuple[Candidate, ...], seen: Seen, console: Console) -> tuple[Cause, ...]:
    """Return the causes, the likeliest first, each with what speaks for and against it."""
    ranked = sorted(
        ((_weigh(one, seen, console), one) for one in candidates), key=lambda two: -two[0][0]
    )
    return tuple(
        Cause(one.what, tuple(speaks_for), tuple(against))
        for (_, speaks_for, against), one in ranked
    )


def _weigh(one: Candidate, seen: Seen, console: Console) -> tuple[int, list[str], list[str]]:
    weight, speaks_for, against = one.weight, list[str](), list[str]()
    for sign in one.signs:
        count = sum(sign.holds(splat, console) for splat in seen.splats)
        if not count:
            continue
        weight += sign.weight
        rest = len(seen.splats)
        says = sign.says if count == rest else f"{sign.says} (in {count} of {rest} reports)"
        (speaks_for if sign.weight > 0 else against).append(says)
    return weight, speaks_for, against
