"""Reports that one log holds twice.

People name the reports of a log before they paste it, and mails quote the log that they answer to:
the same words with the same stamp, where the stamps begin anew.  A console can print a piece of its
buffer again, in the middle of a report (s390x's SCLP under load does, some 4 KiB of it).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from zaptrace.splat.draft import Draft
from zaptrace.splat.headlines import Headline
from zaptrace.splat.prefixes import LONGEST, STAMP, says_kernel

_STAMP = re.compile(STAMP)

BACK = 1.0
"""Seconds; stamps of several CPUs are that close."""
LONGEST_REPORT = 60.0
"""Seconds from a report's first line to its last."""
MOST_RESTS = 8
"""Lines that one line of a console can be broken into."""
MOST_HEADLINES = 10_000
"""That are remembered."""
LONGEST_PIECE = 512
"""Lines that a console prints again."""


def is_of_another_time(draft: Draft, time: float | None) -> bool:
    """Return whether a line's stamp cannot be that of a report's line."""
    began = draft.fields.get("time")
    if time is None or began is None:
        return False
    return not began - BACK <= time <= began + LONGEST_REPORT


def has_torn_stamp(draft: Draft, time: float | None) -> bool:
    """Return whether the log begins in the middle of the stamp of a report's first line."""
    if time is None or draft.fields["line"] != 1:
        return False
    began = draft.fields.get("time")
    if began is None or began >= time:
        return False
    whole, torn = f"{int(time)}", f"{int(began)}"
    return whole != torn and whole.endswith(torn) and abs(time % 1 - began % 1) < BACK


class Doubles:
    """Lines that stand twice, stamp and all: of two consoles that are one.

    Attributes:
        are_there: a headline stood twice.
    """

    def __init__(self) -> None:
        self.are_there = False
        self._line: list[str] = []  # the last stamped one, with its rests where it was broken
        self._at: int | None = None  # the next of them that is to come again

    def is_double(self, text: str) -> bool:
        """Return whether a line is the one before it again, or the rest of such a line."""
        if not self.are_there:
            return False
        if self._at is not None and self._at < len(self._line) and text == self._line[self._at]:
            self._at += 1
            return True
        self._at = None
        if _STAMP.search(text, 0, LONGEST):
            if self._line and text == self._line[0]:
                self._at = 1
                return True
            self._line = [text]
        elif len(self._line) < MOST_RESTS:
            self._line.append(text)
        return False


class Pieces:
    """Lines that a console prints again, stamps and all, and then goes on where it was."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._places: dict[str, int] = {}  # of those that have a stamp
        self._last = 0.0
        self._at: int | None = None  # the next of them that is to come again

    def is_again(self, text: str) -> bool:
        """Return whether a line is part of a piece that was printed before."""
        if self._at is not None and self._at < len(self._lines) and text == self._lines[self._at]:
            self._at += 1
            return True
        self._at = None
        if stamp := _STAMP.search(text, 0, LONGEST):
            time = float(stamp[0].strip("[] "))
            # A coarse clock gives equal lines equal stamps: only one that goes back says it.
            if self._last - BACK <= time < self._last and text in self._places:
                self._at = self._places[text] + 1
                return True
            self._last = time
            self._places[text] = len(self._lines)
        self._lines.append(text)
        if len(self._lines) == 2 * LONGEST_PIECE:
            del self._lines[:LONGEST_PIECE]
            self._places = {
                line: at - LONGEST_PIECE for line, at in self._places.items() if at >= LONGEST_PIECE
            }
        return False


class Copies:
    """The headlines so far, with their stamps."""

    def __init__(self) -> None:
        self._now: set[tuple[str, float]] = set()
        self._before: set[tuple[str, float]] = set()  # the stamps went back
        self._last = 0.0
        self._whole: set[tuple[str, object, object, object]] = set()

    def is_repeated(self, draft: Draft) -> bool:
        """Return whether a report of a page is but the headline of a whole one before it.

        So it is where grep's output was added.
        """
        said = draft.said
        key = (draft.kind.name, said.get("process"), said.get("pfn"), said.get("pte"))
        if key[2:] == (None, None) or draft.dropped:
            return False
        if draft.is_bare:
            return key in self._whole
        if len(self._whole) < MOST_HEADLINES:
            self._whole.add(key)
        return False

    def is_copy(self, begins: Headline, time: float | None) -> bool:
        """Return whether a headline stood further up, before the stamps went back."""
        if not time:  # none, or so early that all stamps are 0
            return False
        if time < self._last - BACK:
            self._before |= self._now
            self._now.clear()
        self._last = time
        key = (begins.text, time)
        if key in self._before:
            return True
        if len(self._now) + len(self._before) < MOST_HEADLINES:
            self._now.add(key)
        return False


def mention(
    begins: Headline, time: float | None, drafts: Iterable[Draft], *, is_copy: bool
) -> Draft | None:
    """Return the headline above that may be a report's own: a title, a summary, a torn line."""
    for one in drafts:
        if one.is_bare and _is_named(one, begins, time, is_copy=is_copy):
            return one
    return None


def _is_named(one: Draft, begins: Headline, time: float | None, *, is_copy: bool) -> bool:
    said, head = one.fields.get("time"), one.headline
    if said is not None:  # the console can tear a line, and print it again
        torn = head.text != begins.text and begins.text.startswith(head.text)
        return said == time and (torn or (is_copy and head.text == begins.text))
    same = (head.kind, head.fields) == (begins.kind, begins.fields)
    known = not begins.fields.keys().isdisjoint(("pfn", "pte"))
    return same and not says_kernel(head.before) and (known or says_kernel(begins.before))


def named_above(one: Draft, drafts: Iterable[Draft]) -> bool:
    """Return whether a bare headline is that of a report below, whose own was broken."""
    if not one.is_bare or one.kind.one_line or one.fields.get("time") is not None:
        return False
    return any(
        (other.kind, other.said) == (one.kind, one.said)
        and not (other.is_bare or says_kernel(one.headline.before))
        and says_kernel(other.headline.before)
        for other in drafts
    )
