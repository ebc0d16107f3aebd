"""What the victims of the lab kernel's faults said on the console, before they were struck.

They know it from their own /proc/self/pagemap (vm/guest/victim.c): zaptrace has no part in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

LARGE = 16
"""Pages of a large folio."""
_SAID = re.compile(
    r"^zaptrace: victim (?P<fault>\S+) pid (?P<pid>\d+) zapper (?P<zapper>\d+) "
    r"addr (?P<address>0x[0-9a-f]+) pfn (?P<pfn>\d+) (?P<evidence>\w+)\r?$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Victim:
    """What one said of one page."""

    fault: str
    pid: int
    zapper: int
    address: int
    pfn: int
    evidence: str

    @property
    def head(self) -> int:
        """The first page of its large folio."""
        return self.pfn - self.pfn % LARGE


def victims(console: str) -> list[Victim]:
    """All of them, in order."""
    return [
        Victim(
            found["fault"],
            int(found["pid"]),
            int(found["zapper"]),
            int(found["address"], 16),
            int(found["pfn"]),
            found["evidence"],
        )
        for found in _SAID.finditer(console)
    ]
