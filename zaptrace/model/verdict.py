"""Verdicts: the explanation of a run."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any

from zaptrace.model.findings import Finding


class VerdictKind(enum.Enum):
    """What went wrong; DESIGN section 5."""

    FREED_BEFORE_RMAP_REMOVED = "freed_before_rmap_removed"
    MAPPING_LEAKED = "mapping_leaked"
    RMAP_UNDERFLOW = "rmap_underflow"
    PTE_LEFT_BEHIND = "pte_left_behind"
    REFCOUNT_OVERPUT = "refcount_overput"
    RSS_MISMATCH = "rss_mismatch"
    CLEAN = "clean"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class OrderStep:
    """One event of the page's story.

    Attributes:
        what: a sentence a person reads.
        time_ns: boot clock, None when the order is known but not the time.
        raw_mapcount, refcount: as the kernel stored them at that moment.
        evidence: where it is known from: `event`, `splat`, `registers`,
            `stack`, `audit`.
    """

    what: str
    time_ns: int | None
    cpu: int | None = None
    pid: int | None = None
    raw_mapcount: int | None = None
    refcount: int | None = None
    evidence: str | None = None


@dataclass(frozen=True, slots=True)
class CodeSite:
    """A place in the kernel's source that played a part.

    Attributes:
        role: `freed`, `rmap_removed`, `pte_cleared`, `reported`.
        source: `file:line` of the innermost frame, or None.
        inline_chain: `function at file:line`, innermost first.
    """

    symbol: str | None
    offset: int | None
    source: str | None
    inline_chain: tuple[str, ...] = ()
    role: str | None = None
    address: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The explanation of a run."""

    kind: VerdictKind
    summary: str
    pfn: int | None = None
    comm: str | None = None
    pid: int | None = None
    order: tuple[OrderStep, ...] = ()
    sites: tuple[CodeSite, ...] = ()
    proof: tuple[Finding, ...] = ()
    doubts: tuple[str, ...] = ()
    """What the evidence at hand cannot settle, and what would."""
    evidence: tuple[str, ...] = ()
    """The least evidence that carries it: of `capture`, `splat`, `vmcore`."""
    others: tuple[str, ...] = ()
    """What else went wrong in the run, a phrase each, the worst first."""

    def to_json(self) -> dict[str, Any]:
        """As `explain --json` prints it under `verdict`."""
        data = dataclasses.asdict(self)
        data["kind"] = self.kind.value
        data["order"] = [dataclasses.asdict(one) for one in self.order]
        data["sites"] = [
            {**dataclasses.asdict(one), "inline_chain": list(one.inline_chain)}
            for one in self.sites
        ]
        data["proof"] = [finding.to_json() for finding in self.proof]
        for name in ("doubts", "evidence", "others"):
            data[name] = list(getattr(self, name))
        return data
