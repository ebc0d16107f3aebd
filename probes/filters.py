"""Which events are wanted: by task, and by page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

COMM_SIZE = 15  # TASK_COMM_LEN without its NUL


@dataclass(frozen=True, slots=True)
class Filters:
    """What an event must be of; nothing set: every event.

    Attributes:
        pids: processes, with their threads.
        comms: task names, any of them.
        cgroup: a cgroup v2 folder, with those below it.
        anonymous: pages of anonymous memory only.
        large_only: pages of large folios only.
    """

    pids: tuple[int, ...] = ()
    comms: tuple[str, ...] = ()
    cgroup: Path | None = None
    anonymous: bool = False
    large_only: bool = False
