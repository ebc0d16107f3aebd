"""Which commits to try next, several at once (pure).

`git bisect run` halves what is left with each trial.  With k trials at a time k commits cut it
into k + 1 parts, so that the number of rounds is the logarithm to the base k + 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from zaptrace.runs.bisect.trial import Mark

_GOLDEN = 0.6180339887498949
"""Its multiples modulo 1 lie far from each other: steps away from what was skipped."""


@dataclass(frozen=True, slots=True)
class History:
    """The commits of a range.

    Attributes:
        parents: commit -> its parents inside of the range; oldest first, the bad end last.
    """

    parents: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, lines: Iterable[str]) -> History:
        """From `git rev-list --topo-order --reverse --parents BAD --not GOOD`."""
        rows = [line.split() for line in lines]
        inside = {row[0] for row in rows}
        return cls({row[0]: [one for one in row[1:] if one in inside] for row in rows})

    def suspects(self, marks: Mapping[str, Mark]) -> tuple[str, ...]:
        """Return the commits of which any may be the first bad one, newest first.

        It is below each bad commit, and not below a good one.
        """
        told = [one for one in marks if one in self.parents and marks[one] is not Mark.SKIP]
        bit = {commit: 1 << number for number, commit in enumerate(told)}
        bad = sum(bit[commit] for commit in told if marks[commit] is Mark.BAD)
        left = []
        above: dict[str, int] = {}
        """Commit -> the bits of what it is below of, itself included: one way down for all."""
        for commit in reversed([*self.parents]):
            seen = above.pop(commit, 0) | bit.get(commit, 0)
            if seen == bad:
                left.append(commit)
            for parent in self.parents[commit]:
                above[parent] = above.get(parent, 0) | seen
        return tuple(left)

    def next(self, marks: Mapping[str, Mark], count: int) -> list[str]:
        """Up to `count` commits whose trials leave the fewest suspects, whatever they come to.

        None when nothing is left to try: then there is one suspect, or those before it were
        skipped.
        """
        left = self.suspects(marks)
        if len(left) < 2:
            return []
        below = self._below(left)
        untried = [commit for commit in left if commit not in marks]
        skipped = sum(commit in marks for commit in left[1:])
        chosen: list[str] = []
        for number in range(1, count + 1):
            part = (number / (count + 1) + skipped * _GOLDEN) % 1
            rest = [commit for commit in untried if commit not in chosen]
            if rest:
                chosen.append(min(rest, key=lambda one: abs(below[one] - part * len(left))))
        return chosen

    def _below(self, left: Sequence[str]) -> dict[str, int]:
        """Commit -> how many of those left it has below it, itself included."""
        bit = {commit: 1 << number for number, commit in enumerate(left)}
        children = dict.fromkeys(left, 0)
        for commit in left:
            for parent in self.parents[commit]:
                if parent in children:
                    children[parent] += 1
        sets: dict[str, int] = {}
        counts: dict[str, int] = {}
        for commit in reversed(left):
            own = bit[commit]
            for parent in self.parents[commit]:
                if parent in bit:
                    own |= sets[parent]
                    children[parent] -= 1
                    if not children[parent]:  # of a long history no more than a front is kept
                        del sets[parent]
            sets[commit], counts[commit] = own, own.bit_count()
        return counts
