"""What a boot's own lines say of the kernel: its release, its command line, its page checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from zaptrace.triage.console import BootFacts

_LONGEST = 4096
# What is searched for in bulk, and what follows it.
_MARKS = (
    ("release", b"Linux version ", re.compile(rb"[0-9][^\s\0]{0,80}")),
    ("command_line", b"ommand line: ", re.compile(rb"[^\r\n]{0,4096}")),
    ("auto_init", b"mem auto-init: ", re.compile(rb"[^\r\n]{0,200}")),
)
# A line that only a kernel's log has: a stamp of printk's, a level, a name that loggers add.
_KERNEL = re.compile(rb"\[ {0,11}[0-9]{1,12}\.[0-9]{6}\]|\bkernel: |^<[0-9]{1,3}>|Linux version ")


class BootReader:
    """Passes blocks of a log on, and keeps what its boot says."""

    def __init__(self) -> None:
        self._found: dict[str, set[bytes]] = {}
        self._kernel = False

    def through(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the blocks, looked through on the way."""
        rest = b""
        for block in blocks:
            window = rest + block
            end = window.rfind(b"\n") + 1
            self._look(window[:end])
            rest = window[end:][-_LONGEST:]  # a line that continues in the next block
            yield block
        self._look(rest)

    def _look(self, window: bytes) -> None:
        self._kernel = self._kernel or _KERNEL.search(window) is not None
        for name, mark, pattern in _MARKS:
            at = window.find(mark)
            while at >= 0:
                if found := pattern.match(window, at + len(mark)):
                    self._found.setdefault(name, set()).add(found[0].strip())
                at = window.find(mark, at + 1)

    def facts(self) -> BootFacts:
        """Return what was found; of boots that disagree nothing."""
        one = {
            name: values.copy().pop().decode("utf-8", "replace")
            for name, values in self._found.items()
            if len(values) == 1
        }
        return BootFacts(
            one.get("release"), one.get("command_line"), one.get("auto_init"), self._kernel
        )
