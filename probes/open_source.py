"""Which source: bcc where it works, else tracefs, and the reason said."""

from __future__ import annotations

import os

from probes import bcccompiler
from probes.filters import Filters
from zaptrace.kernel.kallsyms import Kallsyms
from zaptrace.model.errors import Missing
from zaptrace.model.events import Events
from zaptrace.model.plan import ProbePlan
from zaptrace.model.source import Source


def check_root() -> None:
    """Refuse who is not root, before anything else is looked at.

    Raises:
        Missing: for them.
    """
    if os.geteuid() != 0:
        raise Missing("watching the kernel is for root alone", "sudo zaptrace ...")


def open_source(
    plan: ProbePlan,
    filters: Filters,
    wanted: str | None = None,
    symbols: Kallsyms | None = None,
) -> Source:
    """Return a source of this machine's events, recording already.

    Args:
        wanted: one of SOURCES, or None for the best that works.
        symbols: the running kernel's; read anew when None.

    Raises:
        Missing: it cannot be obtained, or none can.
    """
    if symbols is None:
        symbols = Kallsyms.of_this_kernel()
    if wanted is not None:
        return _OPEN[wanted](plan, filters, symbols)
    try:
        return _bcc(plan, filters, symbols)
    except Missing as error:
        why = str(error) if bcccompiler.available() else f"bcc is missing ({bcccompiler.INSTALL})"
    return _Noted(_tracefs(plan, filters, symbols), f"tracefs instead of bcc: {why}")


def _bcc(plan: ProbePlan, filters: Filters, symbols: Kallsyms) -> Source:
    from probes.bccsource import BccSource  # each source's modules come when it is opened

    return BccSource(plan, filters, symbols)


def _tracefs(plan: ProbePlan, filters: Filters, symbols: Kallsyms) -> Source:
    from probes.tracefs import TracefsSource

    return TracefsSource(plan, filters, symbols)


_OPEN = {"bcc": _bcc, "tracefs": _tracefs}
SOURCES = tuple(_OPEN)


class _Noted:
    """A source with one note more, after those that it begins with."""

    def __init__(self, source: Source, note: str) -> None:
        self._source = source
        self._note = note
        self._first: int | None = None

    def read(self, seconds: float) -> Events | None:
        """See `Source.read`."""
        events = self._source.read(seconds)
        if events is not None and "notes" in events.meta:  # each time it has all of them
            notes = events.meta["notes"]
            self._first = len(notes) if self._first is None else self._first
            events.meta["notes"] = [*notes[: self._first], self._note, *notes[self._first :]]
        return events

    def close(self) -> None:
        """See `Source.close`."""
        self._source.close()
