"""A console as the decision table sees it: its reports, and what its boot said of the kernel."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise

from zaptrace.model.splats import Splat
from zaptrace.triage.bits import Flip, flips

_ZAP_SECONDS = 5.0
_NEXT_LINES = 3
"""From free_swap_and_cache()'s line to print_bad_pte()'s: it may say how many it held back."""


@dataclass(frozen=True, slots=True)
class BootFacts:
    """What a boot's own lines say; absent is None.

    Attributes:
        release: out of "Linux version ...".
        command_line: the kernel's.
        auto_init: what follows "mem auto-init:".
        lines: some line of the log is a kernel's.
    """

    release: str | None = None
    command_line: str | None = None
    auto_init: str | None = None
    lines: bool = False


@dataclass(frozen=True)
class Console:
    """The reports of one console, or of several: then each names its log."""

    splats: tuple[Splat, ...]
    boot: BootFacts = BootFacts()

    @functools.cached_property
    def release(self) -> str | None:
        """The kernel's release as printed, of the boot or of the first report with one."""
        named = (splat.kernel_release for splat in self.splats)
        return self.boot.release or next((one for one in named if one), None)

    @functools.cached_property
    def flips(self) -> tuple[Flip, ...]:
        """The values that one bit keeps from being legal."""
        return flips(self.splats)

    @functools.cached_property
    def refused(self) -> dict[tuple[str | None, int | None], int]:
        """Log and pfn -> the line of the first "Bad page state" on it."""
        found: dict[tuple[str | None, int | None], int] = {}
        for splat in self.splats:
            if splat.kind == "bad_page_state":
                found.setdefault((splat.log, splat.pfn), splat.line or 0)
        return found

    @functools.cached_property
    def after_swap_entries(self) -> frozenset[tuple[str | None, int]]:
        """Log and line of each report that follows one of a bad swap entry at once."""
        pairs = pairwise(self.splats)
        return frozenset(
            (splat.log, splat.line or 0)
            for before, splat in pairs
            if before.kind == "bad_swap_entry"
            and before.log == splat.log
            and 0 < (splat.line or 0) - (before.line or 0) <= _NEXT_LINES
        )

    @functools.cached_property
    def firsts(self) -> dict[tuple[str | None, str], int]:
        """Log and kind -> the line of the first such report."""
        found: dict[tuple[str | None, str], int] = {}
        for splat in self.splats:
            found.setdefault((splat.log, splat.kind), splat.line or 0)
        return found

    def reported_before(self, splat: Splat, *kinds: str) -> bool:
        """Return whether a report of some kinds stands above one in its log."""
        lines = (self.firsts.get((splat.log, kind)) for kind in kinds)
        return any(line is not None and line < (splat.line or 0) for line in lines)

    @functools.cached_property
    def pages(self) -> dict[int, tuple[Splat, ...]]:
        """The reports on each page frame, less those that follow another one in the same zap."""
        found: dict[int, list[Splat]] = {}
        for splat in self.splats:
            if splat.pfn is None:
                continue
            before = found.setdefault(splat.pfn, [])
            if not (before and _follows(before[-1], splat)):
                before.append(splat)
        return {pfn: tuple(some) for pfn, some in found.items()}


def _follows(before: Splat, splat: Splat) -> bool:
    """Return whether two reports of one thread on one page, within seconds, belong to one
    incident."""
    if before.log != splat.log or before.pid != splat.pid:
        return False
    if before.time is None or splat.time is None:
        return True
    return 0 <= splat.time - before.time <= _ZAP_SECONDS
