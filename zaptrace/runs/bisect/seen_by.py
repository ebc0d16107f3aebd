"""What a bug was seen by: a boot that saw less cannot say that a commit is free of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from zaptrace.model.verdict import VerdictKind
from zaptrace.runs.explain_run import Result
from zaptrace.runs.signature import Signature

_NAMES = {"capture": "capture of the events", "splat": "console", "vmcore": "audit of a dump"}
_JOINED = frozenset({"zap_enter"})
"""Events that only some kernels need, for arguments of another."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a verdict rests on.

    Attributes:
        parts: of the evidence (`explain.evidence.PARTS`).
        events: names of those that the probes took; none when no capture carries the verdict.
        complete: and none of them was lost.
    """

    parts: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    complete: bool = False

    @classmethod
    def of(cls, result: Result) -> Sight:
        """Return what a run's verdict rests on."""
        parts = result.verdict.evidence
        if "capture" not in parts:
            return cls(parts)
        return cls(parts, tuple(sorted(result.watched - _JOINED)), result.complete)

    def lacks(self, other: Sight) -> str | None:
        """Return what `other` rests on and this one has not, for a person; None when nothing."""
        for part in other.parts:
            if part not in self.parts:
                return f"no {_NAMES.get(part, part)}"
        blind = sorted(set(other.events) - set(self.events))
        if blind:
            return f"no probe for {', '.join(blind)}"
        return "no whole recording of the events" if other.complete and not self.complete else None

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> Sight:
        """Return the inverse of `dataclasses.asdict`; that of an older session is empty."""
        data = data or {}
        parts, events = tuple(data.get("parts", ())), tuple(data.get("events", ()))
        return cls(parts, events, bool(data.get("complete")))


@dataclass(frozen=True, slots=True)
class Wanted:
    """The bug that is looked for, and what a boot must have to be without it."""

    bug: Signature
    sight: Sight = field(default_factory=Sight)

    def unseen(self, clean: Result) -> str | None:
        """Why a clean boot does not speak for its commit; None when it does."""
        assert clean.verdict.kind is VerdictKind.CLEAN
        lacking = Sight.of(clean).lacks(self.sight)
        return f"clean, but it has {lacking}, by which the bug is known" if lacking else None
