"""What a boot's own lines say of the kernel: its release, its command line, its page checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from zaptrace.triage.console import BootFacts

_LONGEST = 4096
_LINES = re.compile(
    rb"Linux version (?P<release>[0-9][^\s\0]{0,80})"
    rb"|[Cc]ommand line: (?P<command_line>[^\r\n]{0,4096})"
    rb"|mem auto-init: (?P<auto_init>[^\r\n]{0,200})"
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
            self._look(window)
            # A line may go on in the next block; one that was found twice is found once.
            rest = window[window.rfind(b"\n") + 1 :][-_LONGEST:]
            yield block

    def _look(self, window: bytes) -> None:
        self._kernel = self._kernel or _KERNEL.search(window) is not None
        for found in _LINES.finditer(window):
            if found.lastgroup:
                self._found.setdefault(found.lastgroup, set()).add(found[found.lastgroup].strip())

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
