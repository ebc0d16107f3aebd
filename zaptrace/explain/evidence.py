"""What an explanation is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from zaptrace.model.events import Events
from zaptrace.model.findings import AuditResult
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import CodeSite

PARTS = ("capture", "splat", "vmcore")
"""What evidence is made of, as the scoreboard names it."""


def no_source(_address: int) -> CodeSite | None:
    """The resolver of somebody who has no vmlinux."""
    return None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known of one run; each part may be missing.

    Attributes:
        events: what the probes recorded, or None when there were none.
        splats: the reports on the console, in order.
        audit: page tables against counters in the dump taken where it `ended`, or None.
        resolve: return address -> its code site with the inline chain, or None
            when it cannot tell.
        ended: how the run ended: `bad_page` (stopped at its first instruction),
            `panic`, `exit`, `timeout`, or anything else.
    """

    events: Events | None = None
    splats: Sequence[Splat] = ()
    audit: AuditResult | None = None
    resolve: Callable[[int], CodeSite | None] = no_source
    ended: str = "exit"

    @property
    def lost(self) -> int:
        """Events that could not be delivered."""
        return self.events.lost if self.events else 0

    @property
    def stopped_inside(self) -> bool:
        """The dump is of the moment at which the bug struck: what came next is not in it."""
        return self.ended in ("bad_page", "panic")

    @property
    def ran_to_its_end(self) -> bool:
        """The events go on to the guest's own end, also when it was stopped in between."""
        return self.ended == "exit" or (
            self.events is not None and self.events.meta.get("after") == "exit"
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of `PARTS` there are."""
        there = (self.events is not None, bool(self.splats), self.audit is not None)
        return tuple(part for part, known in zip(PARTS, there, strict=True) if known)

    def only(self, parts: Sequence[str]) -> Evidence:
        """The same run with less evidence."""
        return replace(
            self,
            events=self.events if "capture" in parts else None,
            splats=self.splats if "splat" in parts else (),
            audit=self.audit if "vmcore" in parts else None,
        )
