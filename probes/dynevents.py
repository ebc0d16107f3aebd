"""Dynamic trace events in tracefs: kprobes that we define, and those that a dead one of us left."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_OWN = re.compile(r"zaptrace_(\d{1,10})_(\d{1,20})")
_STARTTIME = 19  # field 22 of /proc/PID/stat, counted after the comm's bracket


class Refused(Exception):
    """The kernel did not take it; the text holds its own words."""


@dataclass(frozen=True, slots=True)
class DynamicEvents:
    """The dynamic events of one kind, under one group.

    Attributes:
        root: where tracefs is mounted.
        control: the file that takes definitions: kprobe_events, uprobe_events.
        group: their trace system.
    """

    root: Path
    control: str
    group: str

    def define(self, name: str, definition: str) -> None:
        """Define one event, not enabled yet.

        Raises:
            Refused: the kernel does not take it.
        """
        write(self.root / self.control, f"p:{self.group}/{name} {definition}", self.root)

    def names(self) -> list[str]:
        """Return the group's events that exist."""
        return [name for group, name in self._all() if group == self.group]

    def remove(self) -> None:
        """Remove all of the group's events; those that are still in use stay."""
        for name in self.names():
            try:
                write(self.root / self.control, f"-:{self.group}/{name}", self.root)
            except Refused:
                continue

    def missed(self) -> dict[str, int]:
        """Map event names to hits that the kprobe missed; empty when that cannot be read."""
        return {name: missed for name, (_, missed) in self.profile().items()}

    def profile(self) -> dict[str, tuple[int, int]]:
        """Map event names to hits that the kprobe took, and missed (kprobe_profile).

        Of every group; empty when that cannot be read.
        """
        try:
            lines = (self.root / self.control.replace("_events", "_profile")).read_text()
        except OSError:
            return {}
        parts = (line.split() for line in lines.splitlines())
        return {
            name: (int(hits), int(missed))
            for name, hits, missed in (one for one in parts if len(one) == 3)
            if hits.isdecimal() and missed.isdecimal()
        }

    def groups(self) -> set[str]:
        """Return the groups that have events."""
        return {group for group, _ in self._all()}

    def _all(self) -> list[tuple[str, str]]:
        """Yield group and name of every event; a line is `p:GROUP/NAME PLACE …`."""
        try:
            lines = (self.root / self.control).read_text().splitlines()
        except OSError:
            return []
        heads = (line.split()[0].partition(":")[2] for line in lines if line.strip())
        pairs = (head.partition("/") for head in heads)
        return [(group, name) for group, _, name in pairs if name]


def write(path: Path, text: str, log: Path) -> None:
    """Write a line to a control file, after what is there.

    Args:
        log: the folder whose error_log says why the kernel refuses.

    Raises:
        Refused: it does.
    """
    try:
        # Without O_TRUNC, which removes everybody's definitions; O_APPEND seeks, which fails here.
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode() + b"\n")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Refused(_kernels_words(log, text) or error.strerror or str(error)) from error


def _kernels_words(log: Path, command: str) -> str | None:
    """Return what the kernel last said of a command of ours (error_log, see ftrace.rst)."""
    try:
        text = (log / "error_log").read_text(errors="replace")
    except OSError:
        return None
    entries = re.findall(r"^\[[^]]*\] .*error: (.*)\n  Command: (.*)$", text, re.MULTILINE)
    said = [words for words, subject in entries if subject.strip() == command]
    return said[-1].strip() if said else None


def own_name() -> str:
    """Return a name that only this process, of all that ever ran since boot, has."""
    pid = os.getpid()
    return f"zaptrace_{pid}_{_starttime(pid)}"


def clean_leftovers(root: Path, control: str) -> list[str]:
    """Remove what processes of ours left that do not live any longer; foreign things stay.

    Returns:
        The names of what was found.
    """
    instances = root / "instances"
    found = {path.name for path in instances.glob("zaptrace_*")}
    found |= DynamicEvents(root, control, "").groups()
    dead = sorted(name for name in found if _is_dead(name))
    for name in dead:
        remove_instance(instances / name)
        DynamicEvents(root, control, name).remove()
    return dead


def remove_instance(folder: Path) -> None:
    """Remove a tracing instance, which disables its events; one in use stays."""
    try:
        folder.rmdir()
    except OSError:
        return


def _is_dead(name: str) -> bool:
    match = _OWN.fullmatch(name)
    return match is not None and _starttime(int(match[1])) != int(match[2])


def _starttime(pid: int) -> int | None:
    """Return when a process started, clock ticks since boot; None without such a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return int(text.rpartition(")")[2].split()[_STARTTIME])
    except (OSError, IndexError, ValueError):
        return None
