"""A tracing instance of our own: its settings, its events, its raw pipes' folder."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from probes.dynevents import Refused, write


@dataclass(frozen=True, slots=True)
class Instance:
    """One folder of tracefs's `instances`.

    Attributes:
        folder: it.
    """

    folder: Path

    def create(self, *, clock: str, buffer_kib: int) -> None:
        """Make it, recording nothing yet.

        Args:
            buffer_kib: size of each CPU's ring buffer.

        Raises:
            Refused, OSError: it cannot be made.
        """
        self.folder.mkdir()
        self.set("tracing_on", "0")
        self.set("trace_clock", clock)
        self.set("buffer_size_kb", str(buffer_kib))
        with contextlib.suppress(Refused):  # 4.14; /proc has those that still run
            self.set("options/record-tgid", "1")

    def set(self, name: str, value: str) -> None:
        """Write one of its control files.

        Raises:
            Refused: the kernel does not take it.
        """
        write(self.folder / name, value, self.folder)

    def enable(self, group: str, event: str, condition: str) -> None:
        """Record an event where a condition holds ("" for always).

        Raises:
            Refused: the kernel does not take it.
        """
        if condition:
            self.set(f"events/{group}/{event}/filter", condition)
        self.set(f"events/{group}/{event}/enable", "1")

    def add_stacks(self, group: str, event: str, condition: str) -> None:
        """Record a kernel stack after each such event.

        Raises:
            Refused: the kernel does not take it.
        """
        action = f"stacktrace if {condition}" if condition else "stacktrace"
        self.set(f"events/{group}/{event}/trigger", action)

    def format(self, group: str, event: str) -> str:
        """Return an event's format file.

        Raises:
            OSError: no such file.
        """
        return self.read(f"events/{group}/{event}/format")

    def read(self, name: str) -> str:
        """Read one of its files.

        Raises:
            OSError: no such file.
        """
        return (self.folder / name).read_text()

    def cpus(self) -> list[Path]:
        """Return the folder of each CPU."""
        return sorted(self.folder.glob("per_cpu/cpu[0-9]*"))

    def follow(self, threads: list[int]) -> None:
        """Record these threads alone, and what they start; none: all threads.

        Raises:
            Refused: the kernel does not take it.
        """
        if threads:
            self.set("options/event-fork", "1")
        for thread in threads:
            self.set("set_event_pid", str(thread))

    def ignore(self, thread: int) -> None:
        """Do not record this thread, where the kernel can do that (5.7)."""
        with contextlib.suppress(Refused):
            self.set("set_event_notrace_pid", str(thread))
