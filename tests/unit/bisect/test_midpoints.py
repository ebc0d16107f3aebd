"""Which commits are tried next: on lines and in histories with merges, with skips."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaptrace.runs.bisect.midpoints import History
from zaptrace.runs.bisect.trial import Mark


@functools.cache
def line(commits: int) -> History:
    return History({str(one): [str(one - 1)] if one else [] for one in range(commits)})


@functools.cache
def next_in_line(commits: int, count: int, marks: frozenset[tuple[str, Mark]]) -> list[str]:
    """What is asked again and again: searches in one line begin alike."""
    return line(commits).next(dict(marks), count)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Commits with up to three parents; the last one is above them all."""
    commits = draw(st.integers(2, 40))
    parents: dict[str, list[str]] = {}
    for number in range(commits):
        below = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        parents[str(number)] = [str(one) for one in sorted(below)]
    heads = set(parents) - {one for some in parents.values() for one in some}
    parents["bad"] = sorted(heads)
    return History(parents)


def search(
    history: History,
    first: str,
    count: int,
    broken: frozenset[str] = frozenset(),
    following: Callable[[dict[str, Mark]], list[str]] | None = None,
) -> tuple[tuple[str, ...], int, set[str]]:
    """The suspects, how many rounds it took, and what was skipped.

    Args:
        following: what comes next by some marks, History.next when None.
    """
    *_, bad = history.parents
    marks = {bad: Mark.BAD}
    buggy = {first}
    for commit, below in history.parents.items():
        if not buggy.isdisjoint(below):
            buggy.add(commit)
    rounds = 0
    while chosen := following(marks) if following else history.next(marks, count):
        rounds += 1
        assert len(set(chosen)) == len(chosen) <= count and not set(chosen) & set(marks)
        for commit in chosen:
            told = Mark.BAD if commit in buggy else Mark.GOOD
            marks[commit] = Mark.SKIP if commit in broken else told
        assert rounds < 100
    skipped = {commit for commit, mark in marks.items() if mark is Mark.SKIP}
    return history.suspects(marks), rounds, skipped


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
@pytest.mark.parametrize("commits", [2, 10, 27, 64, 1000])
def test_rounds_are_the_logarithm_to_the_base_of_one_more_than_the_workers(
    commits: int, workers: int
) -> None:
    def following(marks: dict[str, Mark]) -> list[str]:
        return next_in_line(commits, workers, frozenset(marks.items()))

    most = math.ceil(math.log(commits, workers + 1) - 1e-9)
    found = [
        search(line(commits), str(first), workers, following=following)
        for first in range(0, commits, 7)
    ]
    assert [suspects for suspects, _, _ in found] == [
        (str(first),) for first in range(0, commits, 7)
    ]
    assert max(rounds for _, rounds, _ in found) <= most + 1
    assert commits < 100 or max(rounds for _, rounds, _ in found) <= most


@given(histories(), st.integers(1, 4), st.data())
def test_the_first_bad_commit_is_found_in_any_history(
    history: History, workers: int, data: st.DataObject
) -> None:
    first = data.draw(st.sampled_from([*history.parents]))
    suspects, _, _ = search(history, first, workers)
    assert suspects == (first,)


@given(histories(), st.integers(1, 4), st.data())
def test_it_is_among_the_suspects_and_all_others_were_skipped(
    history: History, workers: int, data: st.DataObject
) -> None:
    *most, bad = history.parents
    first = data.draw(st.sampled_from([*history.parents]))
    broken = data.draw(st.frozensets(st.sampled_from(most), max_size=8))
    suspects, _, skipped = search(history, first, workers, broken)
    assert first in suspects and skipped <= broken
    # As git says it: all that is left is skipped, but the one bad commit above it.
    assert len([one for one in suspects if one not in skipped]) <= 1 or suspects == (bad,)


def test_a_stretch_that_does_not_build_is_left_out() -> None:
    broken = frozenset(str(one) for one in range(300, 700))
    suspects, rounds, skipped = search(line(1000), "900", 1, broken)
    assert suspects == ("900",)
    assert len(skipped) <= 4 and rounds <= 16


def test_many_commits_take_a_moment() -> None:
    history = line(20_000)
    (middle,) = history.next({"19999": Mark.BAD}, 1)
    assert abs(int(middle) - 10_000) <= 1
