"""What a guest's console says of its kernel's own end: a BUG, an oops, a panic.

A kernel that dies says so nowhere else: a panic reaches QEMU only through a device that
the kernel has a driver for, and after an oops the rest of it may hang.
"""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

LOOK_SECONDS = 0.1
QUIET_SECONDS = 5.0
"""How long the console is silent until the kernel's report counts as complete."""
MOST_SECONDS = 30.0
"""How long the guest may run after it, whatever it prints."""
_PANIC = re.compile(rb"Kernel panic - not syncing")
_PANICKED = b"end Kernel panic"
_OOPS = re.compile(rb"kernel BUG at |\[#[0-9]{1,4}\]")
"""die() numbers its reports on every architecture: "Oops: 0002 [#1]", "illegal operation: 0001
ilc:1 [#1]"."""
_OVERLAP = 64
"""Bytes of what was read before: longer than any of these."""
_MOST_BYTES = 1 << 20


class Trouble:
    """Reads a console as it grows.

    Attributes:
        kind: "oops" or "panic", the worse of what was reported; None for neither.
    """

    def __init__(self, console: Path) -> None:
        self.kind: str | None = None
        self._console = console
        self._at = 0
        self._tail = b""
        self._over = False

    async def reported(self) -> None:
        """Wait for such a report, and until it is whole."""
        first = last = 0.0
        while True:
            grown, now = self._read(), time.monotonic()
            if self.kind is not None:
                first = first or now
                last = now if grown or not last else last
                quiet = now - last >= QUIET_SECONDS
                if self._over or quiet or now - first >= MOST_SECONDS:
                    return
            await asyncio.sleep(LOOK_SECONDS)

    def _read(self) -> bool:
        """Read what is new on the console; return whether anything is."""
        try:
            with self._console.open("rb") as file:
                file.seek(self._at)
                new = file.read(_MOST_BYTES)
        except OSError:
            return False
        self._at += len(new)
        text = self._tail + new
        self._tail = text[-_OVERLAP:]
        if _PANIC.search(text):
            self.kind = "panic"
        elif self.kind is None and _OOPS.search(text):
            self.kind = "oops"
        self._over = self._over or _PANICKED in text
        return bool(new)
