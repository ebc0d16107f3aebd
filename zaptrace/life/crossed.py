"""Stores of several CPUs to one counter that crossed.

A record has the value that was read back after the store.  Where another CPU stored to the same
counter in between, it has that one's value: of an addition and a removal that crossed, neither
record shows a change, and of two additions one shows both.  What each did is known by its
functions; it is put right where they add up to what the records show together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from zaptrace.life.counting import counts_by_one, direction
from zaptrace.life.page_life import ENTIRE, Change, Write
from zaptrace.life.page_members import MAPCOUNT, REFCOUNT

_MOST = 4
"""Stores that cross, each of another CPU."""


def put_right(writes: Sequence[Write], functions: Callable[[Write], Sequence[str]]) -> None:
    """Give each of the stores that crossed its own change of the counter.

    Args:
        writes: a page's stores, in their order; those that crossed get other `changes` and
            `unchanged`.
        functions: the functions at a store's instruction, inlined ones as well.
    """
    for counter in (MAPCOUNT, ENTIRE, REFCOUNT):
        mine = [one for one in writes if _stores_to(one, counter)]
        value: int | None = None
        for at, one in enumerate(mine):
            if value is not None:
                _put_right(mine[at : at + _MOST], counter, value, functions)
            if (change := one.change(counter)) is not None:
                value = change.after


def _stores_to(write: Write, counter: str) -> bool:
    if write.after_stop or write.slot is not None:
        return False
    return counter in write.unchanged or write.change(counter) is not None


def _put_right(
    some: Sequence[Write],
    counter: str,
    value: int,
    functions: Callable[[Write], Sequence[str]],
) -> None:
    """Put the shortest run of stores right that begins with the first of some, and crossed."""
    after = value
    for count, write in enumerate(some, 1):
        change = write.change(counter)
        if change is not None:
            if change.before != after:
                return
            after = change.after
        if write.cpu in {one.cpu for one in some[: count - 1]}:
            return
        steps = _steps(some[:count], counter, after - value, functions)
        if steps is None:
            continue
        if count > 1:
            for each, step in zip(some, steps, strict=False):
                _set(each, Change(counter, value, value + step))
                value += step
        return


def _steps(
    some: Sequence[Write], counter: str, shown: int, functions: Callable[[Write], Sequence[str]]
) -> list[int] | None:
    """Return by how much each of some stores changes a counter, if that adds up to what their
    records show; else None.

    Of one it need not be known by how much.
    """
    steps = []
    open_: list[int] = []
    for at, write in enumerate(some):
        names = functions(write)
        steps.append(direction(names, counter))
        if not steps[-1]:
            return None
        if not counts_by_one(names, counter):
            open_.append(at)
    rest = shown - sum(step for at, step in enumerate(steps) if at not in open_)
    if not open_:
        return None if rest else steps
    if len(open_) > 1 or rest * steps[open_[0]] <= 0:
        return None
    steps[open_[0]] = rest
    return steps


def _set(write: Write, change: Change) -> None:
    if change.name in write.unchanged:
        write.unchanged = [name for name in write.unchanged if name != change.name]
        write.changes = [*write.changes, change]
    else:
        write.changes = [change if one.name == change.name else one for one in write.changes]
