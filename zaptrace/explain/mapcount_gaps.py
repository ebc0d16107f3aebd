"""Counters: where a page's mapcount changed, and no recorded event did it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from zaptrace.explain.event_view import Moment, same_page
from zaptrace.explain.predicates import Case, removals_are_seen
from zaptrace.model.findings import Finding


@dataclass(frozen=True, slots=True)
class Jump:
    """A change of the mapcount that none of the recorded events made.

    Attributes:
        before: the rmap removal that left the mapcount at `was`.
        after: what found it at `found` next: an event, or the audit.
        was, found: mapcounts, the stored value plus one.
    """

    before: Moment
    after: Moment | Finding
    was: int
    found: int

    @property
    def rises(self) -> bool:
        """Whether the count rises: perhaps by a new mapping, as rmap additions are not recorded."""
        return self.found > self.was


def jump_of(case: Case) -> Jump | None:
    """Return the first change of the page's mapcount between its last removals and its end."""
    return next(_jumps(case), None)


def _jumps(case: Case) -> Iterator[Jump]:
    """Yield changes between one removal and the next thing that read the counter.

    Each event reads it at the function's entry.  A removal on another CPU may be under way
    meanwhile: then one more or less is no change.  Between two removals the page may have been
    mapped again: a rise there is no change either.
    """
    story = case.story
    ends = (one for one in (story.freed, story.bad, story.bad_pte) if one)
    end = next((one for one in ends if one.raw_mapcount is not None), None)
    seen = [one for one in (*story.removals, end) if one and one.raw_mapcount is not None]
    seen = [one for one in seen if same_page(one, seen[-1])] if seen else []
    for one, following in pairwise(seen):
        assert one.raw_mapcount is not None and following.raw_mapcount is not None
        was, found = one.raw_mapcount, following.raw_mapcount + 1
        away = abs(found - was) - (one.cpu != following.cpu)
        new = found > was and following is not end
        if away > 0 and was >= 0 and not new and removals_are_seen(case):
            yield Jump(one, following, was, found)
    finding = story.finding
    if end or not seen or finding is None or finding.mapcount is None:
        return
    last = seen[-1].raw_mapcount
    if last is not None and last >= 0 and finding.mapcount != last and removals_are_seen(case):
        yield Jump(seen[-1], finding, last, finding.mapcount)
