"""Sources that say what a test wants: a founding bug's events, a console, a flood, a tape."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Sequence

from tests.unit.explain.kernel import (
    BAD_SITE,
    FREE_SITE,
    RETURN_AFTER,
    RETURN_INTO_FREE,
    RETURN_INTO_ZAP,
    RMAP_SITE,
    ZAP_SITE,
    Kernel,
)
from zaptrace.model.errors import ZaptraceError
from zaptrace.model.events import Events, Kind, blank

SYMBOLS = {
    ZAP_SITE: "unmap_page_range+0x322",
    FREE_SITE: "free_unref_page_prepare+0x0",
    BAD_SITE: "bad_page+0x0",
    RMAP_SITE: "folio_remove_rmap_range+0x0",
    RETURN_INTO_FREE: "free_unref_page_prepare+0x210",
    0x23_C3D0: "free_unref_page+0x30",
    RETURN_INTO_ZAP: "unmap_page_range+0xd64",
    0x21_B57A: "unmap_vmas+0xba",
    RETURN_AFTER: "unmap_page_range+0xd90",
}
SITES = [
    {"event": "zap", "inlined": True, "address": ZAP_SITE},
    {"event": "rmap_remove", "inlined": False, "address": RMAP_SITE},
    {"event": "page_free", "inlined": False, "address": FREE_SITE},
    {"event": "bad_page", "inlined": False, "address": BAD_SITE},
]
META = {
    "release": "6.1.0-zaptrace",
    "arch": "s390x",
    "source": "bcc",
    "sites": SITES,
    "missing": [],
}


def founding_bug(processes: int = 60, buggy_share: float = 0.15) -> Events:
    """The founding bug among healthy processes, always the same."""
    made = _founding_bug(processes, buggy_share)
    return Events(
        made.records.copy(), dict(made.strings), dict(made.stacks), dict(SYMBOLS), dict(META)
    )


@functools.cache
def _founding_bug(processes: int, buggy_share: float) -> Events:
    return Kernel(random.Random(7)).run(processes, buggy_share)


def lost(count: int) -> Events:
    """A report of lost events."""
    records = blank(1)
    records["kind"], records["nr"] = Kind.LOST, count
    return Events(records)


def console_text(pfns: Sequence[int]) -> str:
    """A boot log with a report for each page."""
    lines = [
        "[    0.000000] Linux version 6.1.0-zaptrace (s390x) #1 SMP",
        "[    0.412345] Run /init as init process",
    ]
    for number, pfn in enumerate(pfns):
        stamp = f"[    0.61{number:04d}]"
        lines += [
            f"{stamp} BUG: Bad page state in process mount  pfn:{pfn:05x}",
            f"{stamp} page:00000000b1a5ed7e refcount:0 mapcount:1 index:0x3ffa4 pfn:0x{pfn:x}",
            f"{stamp} flags: 0x8000e(referenced|uptodate|dirty|swapbacked|zone=0)",
            f"{stamp} page dumped because: nonzero mapcount",
            f"{stamp} CPU: 0 PID: 41 Comm: mount Not tainted 6.1.0-zaptrace #1",
            f"{stamp} Call Trace:",
            f"{stamp}  [<000000000023c3a0>] bad_page+0x9e/0x120 ",
            f"{stamp}  [<000000000021b0e4>] unmap_page_range+0xd64/0x1210 ",
        ]
    lines.append("[    0.700000] random: crng init done")
    return "".join(f"{line}\n" for line in lines)


class Script:
    """Says its increments, then nothing until it is closed, or its end.

    Attributes:
        closed: how often it was closed.
        reader: the threads that read it.
    """

    def __init__(
        self,
        increments: Sequence[Events],
        *,
        ends: bool = False,
        error: ZaptraceError | None = None,
    ) -> None:
        self._increments = list(increments)
        self._ends = ends
        self._error = error
        self._closed = threading.Event()
        self.closed = 0
        self.readers: set[int] = set()

    def say(self, events: Events) -> None:
        self._increments.append(events)

    def read(self, seconds: float) -> Events | None:
        self.readers.add(threading.get_ident())
        if self._increments:
            return self._increments.pop(0)
        if self._error:
            raise self._error
        if self._ends:
            return None
        self._closed.wait(min(seconds, 0.02))
        return Events()

    def close(self) -> None:
        self.closed += 1
        self._closed.set()


class Tape(Script):
    """A source with a clock; notes what it is asked to do."""

    def __init__(self, increments: Sequence[Events]) -> None:
        super().__init__(increments)
        self.speed = 1.0
        self.paused = False
        self.position = 250_000_000
        self.duration = 2_000_000_000
        self.steps = 0

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def step(self, n: int = 1) -> None:
        self.paused = True
        self.steps += n

    def seek(self, ns: int) -> None:
        self.position = ns
