"""Lines -> splats: which line belongs to which report.

Reports of several CPUs interleave on a console.  Where printk prints caller
ids, lines are sorted by them.  Where it does not, a line belongs to the report
that took the line before it, unless it names another open one: a page by its
pfn, a task by its name.  Nothing that a report has already said is overwritten.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from zaptrace.model.splats import Frame, Splat
from zaptrace.splat.attributes import Attribute, attribute
from zaptrace.splat.frames import decoded_frame, frame
from zaptrace.splat.headlines import Headline, headline
from zaptrace.splat.lines import Line, read_lines

PATIENCE = 40
"""A report ends when so many lines in a row were not its own."""
OPEN_REPORTS = 4
"""Reports without caller ids that can be under way at once."""

# A cheap test before the patterns: every headline has one of these.
_MARKS = re.compile("BUG|WARNING|panic|Unable|general protection|[Bb]ad p|swap|Corrupted")


def parse(data: bytes) -> list[Splat]:
    """Every report in a console log, in the order of their headlines.

    Never raises, whatever the bytes are, and takes time linear in them.
    """
    drafts: list[_Draft] = []
    streams: defaultdict[str | None, _Stream] = defaultdict(_Stream)
    suppressed: dict[str, int] = {}
    for line in read_lines(data):
        begins = headline(line) if _MARKS.search(line.text) else None
        if begins is None:
            if stream := streams.get(line.caller):
                stream.feed(line)
        elif begins.suppressed is not None:
            suppressed[begins.kind.name] = suppressed.get(begins.kind.name, 0) + begins.suppressed
        else:
            draft = _Draft(begins, line, suppressed.pop(begins.kind.name, None))
            drafts.append(draft)
            if not begins.kind.one_line:
                streams[line.caller].begin(draft, 1 if line.caller else OPEN_REPORTS)
    return [draft.splat() for draft in drafts]


class _Draft:
    """A report under way."""

    def __init__(self, begins: Headline, line: Line, suppressed: int | None) -> None:
        self.fields: dict[str, Any] = {
            "kind": begins.kind.name,
            "time": line.time,
            "line": line.number,
            "suppressed": suppressed,
            **begins.fields,
        }
        self.trace: list[Frame] = []
        self.taken: set[str] = set()
        self.last_line = 0  # of its stream
        self.ended = False

    def splat(self) -> Splat:
        return Splat(**self.fields, trace=tuple(self.trace))

    def is_named_by(self, said: Attribute) -> bool:
        """The line names this very report's page or task."""
        pfn, comm = said.fields.get("pfn"), said.fields.get("comm")
        return (pfn is not None and pfn == self.fields.get("pfn")) or (
            comm is not None and comm == self.fields.get("process")
        )

    def refuses(self, said: Attribute) -> bool:
        """The line cannot be this report's."""
        if self.ended or said.name in self.taken:
            return True
        if self.trace and said.name != "trace":  # an oops shows RIP before its call trace
            return True
        pfn, comm = self.fields.get("pfn"), self.fields.get("process")
        return pfn not in (None, said.fields.get("pfn", pfn)) or comm not in (
            None,
            said.fields.get("comm", comm),
        )

    def take(self, said: Attribute) -> None:
        self.taken.add(said.name)
        for name, value in said.fields.items():
            if self.fields.get(name) is None or name == "reason":
                self.fields[name] = value


class _Stream:
    """The lines of one caller, or of all callers where printk does not tell them apart."""

    def __init__(self) -> None:
        self._lines = 0
        self._open: list[_Draft] = []  # the one that took the last line stands last

    def begin(self, draft: _Draft, keep: int) -> None:
        draft.last_line = self._lines
        self._open = [*self._open, draft][-keep:]

    def feed(self, line: Line) -> None:
        self._lines += 1
        self._open = [one for one in self._open if self._lines - one.last_line <= PATIENCE]
        if not self._open:
            return
        if said := attribute(line.text):
            self._attribute(said)
        else:
            self._frame(line.text)

    def _attribute(self, said: Attribute) -> None:
        newest = self._open[-1]
        owner = newest
        if newest.refuses(said) or not newest.is_named_by(said):
            others = (one for one in self._open if one.is_named_by(said) and not one.refuses(said))
            owner = next(others, newest)
        if said.name == "end":
            newest.ended = True
        elif not owner.refuses(said):
            owner.take(said)
            self._took(owner)
        elif said.name in ("task", "trace"):
            newest.ended = True  # another report's stack begins

    def _frame(self, text: str) -> None:
        owner = self._open[-1]
        if owner.ended:
            return
        shown = frame(text) or (decoded_frame(text) if "trace" in owner.taken else None)
        if shown:
            owner.trace.append(shown)
            self._took(owner)

    def _took(self, owner: _Draft) -> None:
        owner.last_line = self._lines
        if self._open[-1] is not owner:
            self._open.remove(owner)
            self._open.append(owner)
