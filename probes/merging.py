"""The records of many CPUs, read in turns, as one stream by clock."""

from __future__ import annotations

import numpy as np

from zaptrace.ftrace.derived_arguments import join_entry_args
from zaptrace.ftrace.record_array import joined, taken
from zaptrace.model.events import Kind, Records, blank, is_kind
from zaptrace.model.plan import ProbePlan

_MOST_ENTERS = 4096  # threads whose last zap_enter is remembered


class Merger:
    """Puts records in order and gives each zap what its thread's zap_enter said.

    Args:
        plan: where the arguments are.
    """

    def __init__(self, plan: ProbePlan) -> None:
        self._plan = plan
        self._held = blank(0)
        self._enters = blank(0)

    def add(self, records: Records, horizon: int) -> Records:
        """Take in records; give those, also of earlier calls, up to a point in time, by clock.

        Args:
            horizon: ns of the trace clock; every CPU's records up to it are in.
        """
        if not len(self._held) + len(records):
            return records
        records = joined([self._held, records])
        clocks = records["clock"].astype(np.uint64)
        order = np.argsort(clocks, kind="stable")
        count = int(np.searchsorted(clocks, np.uint64(horizon), "right", sorter=order))
        self._held = taken(records, order[count:])
        ready = taken(records, order[:count])
        self._join(ready)
        return ready

    def rest(self) -> Records:
        """Return what is still held back."""
        return self.add(blank(0), 2**64 - 1)

    def _join(self, ready: Records) -> None:
        """Do it for those that it concerns, in place."""
        rows = np.flatnonzero(is_kind(ready, (Kind.ZAP, Kind.ZAP_ENTER)))
        if not len(rows):
            return
        known = len(self._enters)
        records = joined([self._enters, taken(ready, rows)])
        join_entry_args(records, self._plan)
        ready[rows] = records[known:]
        enters = taken(records, records["kind"] == Kind.ZAP_ENTER)
        _, last = np.unique(enters["pid"][::-1], return_index=True)
        newest = np.sort(len(enters) - 1 - last)[-_MOST_ENTERS:]
        self._enters = taken(enters, newest)
