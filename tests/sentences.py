"""Sentences of verdicts that no rule has made."""

from __future__ import annotations

from zaptrace.model.verdict import Sentence


def sentences(*texts: str) -> tuple[Sentence, ...]:
    """Sentences that rest on nothing, for what prints them."""
    return tuple(Sentence(text) for text in texts)
