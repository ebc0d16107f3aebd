"""What a log is parsed as."""

from __future__ import annotations

from zaptrace.model.splats import Splat
from zaptrace.splat import parse


def names(splat: Splat) -> list[str]:
    """Return the functions of the trace, unreliable ones marked."""
    return [f"{one.symbol}{'' if one.reliable else '?'}" for one in splat.trace]


def parsed(log: str) -> list[Splat]:
    return parse(log.encode())
