"""Sources: where events come from, while they come."""

from __future__ import annotations

from typing import Protocol

from zaptrace.model.events import Events


class Source(Protocol):
    """A stream of events; used by one thread at a time.

    The first increment's `meta` says what is being watched:

        arch, release, build_id, page_size   the kernel; None when not known
        source     how the events are taken: "bcc", "tracefs", "ftrace ring buffer of a dump"
        sites      the probe plan's sites that are attached, as `probes --json` prints them
        missing    [{event, why}]: events that will not come
        notes      sentences for the user: what was chosen and why, what was refused

    Later increments repeat only what has changed.
    """

    def read(self, seconds: float) -> Events | None:
        """Return what came since the last call; waits up to `seconds` while there is nothing.

        With 0 it does not wait, and looks at all that it counts: the last read is such a one.

        Returns:
            An increment: new records, by clock as far as the source knows,
            with the strings, stacks and symbols that they bring (ids are the
            stream's own: an id keeps its meaning to the end).  What could not
            be delivered is among the records (Kind.LOST).  Empty when the time
            is up; None when the stream has ended.

        Raises:
            ZaptraceError: it broke; what was read so far stands.
        """
        ...

    def close(self) -> None:
        """Detach and leave nothing after; may be called twice."""
        ...
