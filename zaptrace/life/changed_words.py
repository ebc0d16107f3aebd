"""Members of struct pages that are not what the last recorded store left: changed by no CPU."""

from __future__ import annotations

from dataclasses import dataclass

from zaptrace.life.completeness import Completeness, Word
from zaptrace.life.page_members import Field
from zaptrace.life.record_layout import NOT_SEEN
from zaptrace.life.records import Life

MOST_CHANGED = 4
"""Words that differ: of more the recording is not whole, whatever it says of itself."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A member of a struct page.

    Attributes:
        was: after the last store to it; None when none was recorded.
        now: when the guest was stopped.
    """

    pfn: int
    name: str
    was: int | None
    now: int


def changed_unseen(life: Life, complete: Completeness | None) -> tuple[Changed, ...]:
    """Return the members that were changed by no recorded store when the guest was stopped.

    Healthy boots have none: each word's last record is its memory.  None is returned where stores
    may be missing.
    """
    facts = life.facts
    if complete is None or facts.missed or facts.values or facts.storage == NOT_SEEN:
        return ()
    if not 0 < complete.differ <= MOST_CHANGED or complete.differ != len(complete.named):
        return ()
    return tuple(one for word in complete.named for one in _members(life, word))


def _members(life: Life, word: Word) -> list[Changed]:
    """Return the members in a word that are not the same."""
    fields = life.fields
    inside = [one for one in fields.fields if one.offset // 8 == word.offset // 8]

    def value(one: Field, number: int) -> int:
        return fields.value(one, number.to_bytes(8, fields.endian))

    found = []
    for one in inside:
        was = None if word.recorded is None else value(one, word.recorded)
        now = value(one, word.memory)
        if was != now:
            found.append(Changed(word.pfn, one.name, was, now))
    return found
