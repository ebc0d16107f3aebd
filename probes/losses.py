"""LOST records: what rings overwrote and what kprobes could not take."""

from __future__ import annotations

import time

from probes.dynevents import DynamicEvents
from zaptrace.ftrace.subbuffers import CpuRing
from zaptrace.model.events import ABSENT, NO_CPU, Kind, Records, blank
from zaptrace.model.plan import ProbeSite

_EVERY = 1.0  # seconds between two looks at the kprobes' misses
_MOST = 2**32 - 1


class Misses:
    """Hits that kprobes could not take, because another one was running.

    Args:
        names: event name -> site.
    """

    def __init__(self, events: DynamicEvents, names: dict[str, ProbeSite]) -> None:
        self._events = events
        self._names = names
        self._counts = events.missed()
        self._looked = time.monotonic()

    def since(self, now: int) -> Records:
        """Those since it was last looked at: a LOST record for each site that has some.

        Args:
            now: ns of the trace clock.
        """
        if time.monotonic() - self._looked < _EVERY:
            return blank(0)
        self._looked = time.monotonic()
        before, self._counts = self._counts, self._events.missed()
        more = {name: self._counts.get(name, 0) - before.get(name, 0) for name in self._names}
        more = {name: count for name, count in more.items() if count > 0}
        records = blank(len(more))
        records["kind"] = Kind.LOST
        records["cpu"] = NO_CPU
        records["clock"] = now
        sites = [self._names[name] for name in more]
        records["site"] = [ABSENT if site.address is None else site.address for site in sites]
        records["nr"] = [min(count, _MOST) for count in more.values()]
        return records


def lost(ring: CpuRing, now: int) -> Records:
    """What a CPU's ring lost, in front of what it kept: a LOST record or none.

    Args:
        now: ns of the trace clock, where it kept nothing.
    """
    records = blank(1 if ring.lost else 0)
    records["kind"] = Kind.LOST
    records["cpu"] = ring.cpu
    records["clock"] = ring.stamps[0] if len(ring.stamps) else now
    records["nr"] = min(ring.lost, _MOST)
    return records
