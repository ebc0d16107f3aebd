"""kprobe events of our own for BPF programs, and what the kernel counts of both.

A kprobe that bcc makes itself (perf_event_open's kprobe PMU) is in none of tracefs's lists: what
it misses is reported nowhere.  Neither is a hit that BPF skips, because the CPU runs another
program or a bpf() call on a map just then (`bpf_prog_active` in trace_call_bpf(); counted since
dd8657894c11 "bpf: Count missed stats in trace_call_bpf").  An event of tracefs counts its hits
and its misses, and the program counts what reaches it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from probes.dynevents import DynamicEvents, Refused, own_name

CONTROL = "kprobe_events"
_RECURSIONS = re.compile(r"^recursion_misses:\s*(\d+)$", re.MULTILINE)


class BpfKprobes:
    """A group of kprobe events, a BPF program on each.

    Args:
        root: where tracefs is mounted.
        attach: a program's descriptor and an event's id -> a descriptor that holds the two
            together until it is closed.
    """

    def __init__(self, root: Path, attach: Callable[[int, int], int]) -> None:
        self._events = DynamicEvents(root, CONTROL, own_name())
        self._attach = attach
        self._held: list[int] = []

    def attach(self, name: str, place: str, program: int) -> None:
        """Have a program run at a place.

        Args:
            place: as kprobe_events takes it, `SYMBOL+OFFSET`.
            program: its descriptor.

        Raises:
            Refused: the kernel does not take it.
        """
        self._events.define(name, place)
        try:
            folder = self._events.root / "events" / self._events.group / name
            self._held.append(self._attach(program, int((folder / "id").read_text())))
        except OSError as error:
            raise Refused(error.strerror or str(error)) from error

    def profile(self) -> dict[str, tuple[int, int]]:
        """See `DynamicEvents.profile`."""
        return self._events.profile()

    def close(self) -> None:
        """Detach the programs, and remove the events."""
        while self._held:
            os.close(self._held.pop())
        self._events.remove()


def recursion_misses(program: int, fdinfo: Path = Path("/proc/self/fdinfo")) -> int | None:
    """Return how often a program did not run because it was running on that CPU.

    None where the kernel does not count that (9ed9e9ba2337 "bpf: Count the number of times
    recursion was prevented").

    Args:
        program: its descriptor.
    """
    try:
        found = _RECURSIONS.search((fdinfo / str(program)).read_text())
    except OSError:
        return None
    return int(found[1]) if found else None
