"""References: the pieces of evidence that a sentence rests on."""

from __future__ import annotations

from collections.abc import Iterable

from zaptrace.explain.event_view import Moment
from zaptrace.explain.evidence import Evidence
from zaptrace.model.findings import Finding
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import Reference

MOST = 16
"""Pieces that a sentence names; a capture is hostile input and may hold millions."""

Piece = Moment | Splat | Finding | Reference | None


def refer(*pieces: Piece) -> tuple[Reference, ...]:
    """Return references to those pieces that there are, once each, in order."""
    found = (_reference(one) for one in pieces if one is not None)
    return tuple(dict.fromkeys(found))[:MOST]


def refer_all(pieces: Iterable[Piece]) -> tuple[Reference, ...]:
    """Return references to many."""
    return refer(*pieces)


def _reference(piece: Moment | Splat | Finding | Reference) -> Reference:
    if isinstance(piece, Reference):
        return piece
    if isinstance(piece, Splat):
        return Reference("splat", piece.kind, line=piece.line, pfn=piece.pfn)
    if isinstance(piece, Finding):
        owner = next(iter(piece.mappings), None)
        mm = owner.mm if owner else None
        return Reference("finding", piece.cls.value, pfn=piece.pfn, mm=mm)
    kind = piece.kind.name.lower()
    return Reference(
        "event",
        kind,
        index=piece.at,
        time_ns=piece.time_ns,
        cpu=piece.cpu,
        pfn=piece.pfn,
        mm=piece.mm,
    )


def whole(evidence: Evidence, *parts: str) -> tuple[Reference, ...]:
    """Return the whole of some parts, for what did not happen: `recording`, `console`, `audit`."""
    there = {
        "recording": evidence.events is not None,
        "console": evidence.console or bool(evidence.splats),
        "audit": evidence.audit is not None,
    }
    return tuple(Reference(part) for part in parts or there if there[part])
