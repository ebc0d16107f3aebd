"""What an explanation is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zaptrace.model.events import Events
from zaptrace.model.findings import AuditResult
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import CodeSite


def no_source(_address: int) -> CodeSite | None:
    """The resolver of somebody who has no vmlinux."""
    return None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known of one run; each part may be missing.

    Attributes:
        events: what the probes recorded, or None when there were none.
        splats: the reports on the console, in order.
        audit: page tables against counters in the dump taken at the end, or None.
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
        """The kernel was stopped where the bug struck, so that what came next never came."""
        return self.ended in ("bad_page", "panic")
