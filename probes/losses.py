"""LOST records: what rings overwrote and what kprobes could not take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from zaptrace.model.events import ABSENT, NO_CPU, Kind, Records, blank
from zaptrace.model.plan import ProbeSite

if TYPE_CHECKING:
    from zaptrace.ftrace.subbuffers import CpuRing

_EVERY = 1.0  # seconds between two looks at what was missed
_MOST = 2**32 - 1


class Misses:
    """Hits that were not taken: counts that only grow, looked at now and then.

    Args:
        look: name -> hits missed so far; a missing name keeps its count.
        sites: name -> site.
    """

    def __init__(self, look: Callable[[], Mapping[str, int]], sites: dict[str, ProbeSite]) -> None:
        self._look = look
        self._sites = sites
        self._counts = dict.fromkeys(sites, 0) | dict(look())
        self._looked = time.monotonic()

    def hurry(self) -> None:
        """Do not put off the next look: there may be no other."""
        self._looked = -_EVERY

    @property
    def is_due(self) -> bool:
        """Whether the last look was long enough ago."""
        return time.monotonic() - self._looked >= _EVERY

    def since(self, now: int) -> Records:
        """Return those since it was last looked at: a LOST record for each site that has some.

        Args:
            now: ns of the trace clock.
        """
        if not self.is_due:
            return blank(0)
        self._looked = time.monotonic()
        counts, before = self._look(), self._counts
        more = {name: counts.get(name, 0) - before[name] for name in self._sites}
        more = {name: count for name, count in more.items() if count > 0}
        self._counts = before | {name: counts[name] for name in more}
        sites = [self._sites[name] for name in more]
        return lost_at(sites, [NO_CPU] * len(sites), list(more.values()), now)


def lost_at(sites: list[ProbeSite], cpus: list[int], counts: list[int], now: int) -> Records:
    """Return LOST records of events that should have been taken at sites.

    Args:
        cpus: where, each; NO_CPU when that is not known.
        counts: how many, each.
        now: ns of the trace clock.
    """
    records = blank(len(sites))
    records["kind"] = Kind.LOST
    records["clock"] = now
    records["cpu"] = cpus
    records["site"] = [ABSENT if site.address is None else site.address for site in sites]
    records["nr"] = [min(count, _MOST) for count in counts]
    return records


def lost(ring: CpuRing, now: int) -> Records:
    """Return what a CPU's ring lost, in front of what it kept: a LOST record or none.

    Args:
        now: ns of the trace clock, where it kept nothing.
    """
    records = blank(1 if ring.lost else 0)
    records["kind"] = Kind.LOST
    records["cpu"] = ring.cpu
    records["clock"] = ring.stamps[0] if len(ring.stamps) else now
    records["nr"] = min(ring.lost, _MOST)
    return records
