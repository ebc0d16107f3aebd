"""The lines between a report's own that no rule reads."""

from __future__ import annotations

import re

MOST_UNREAD = 50
"""Lines that no rule reads and a report keeps; all are counted."""
_OWN = re.compile(r"(?:CPU|Pid|raw|flags)\b|.{0,80}\b(?:page|folio)\b")
"""A line that speaks of a report's subjects is its own, though no rule reads it."""


class Unread:
    """A report's unread lines: those that a line of its own follows.

    Attributes:
        lines: the first of them.
        count: how many there are.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.count = 0
        self._last: list[str] = []  # since the report's last line
        self._last_count = 0
        self._others = 0

    @property
    def are_others(self) -> bool:
        """Whether lines of others, as it seems, followed the report's last line."""
        return self._others > 0

    def add(self, text: str) -> None:
        """Remember a line."""
        self._last_count += 1
        self._others += not _OWN.match(text)
        if len(self._last) < MOST_UNREAD:
            self._last.append(text)

    def take_back(self, text: str) -> None:
        """Forget that a line was not read: it is, with its rest."""
        if self._last and self._last[-1] == text:
            self._last.pop()
            self._last_count -= 1
            self._others -= not _OWN.match(text)

    def commit(self) -> None:
        """Count the last lines: one of the report's follows."""
        if self._last_count:
            self.lines = (self.lines + self._last)[:MOST_UNREAD]
            self.count += self._last_count
            self._last, self._last_count, self._others = [], 0, 0
