"""The suspects pane: pages, worst first."""

from __future__ import annotations

from tui.feed.snapshot import Snapshot
from tui.format import Piece, clock, fit
from tui.panes.line_view import LineView
from tui.timeline import PageName
from zaptrace.explain.suspects import Suspect
from zaptrace.report.words import plain, task

_WIDE = 75  # columns


class SuspectList(LineView):
    """The cursor stays on its page when the ranking changes."""

    HEAD = 1

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._suspects: tuple[Suspect, ...] = ()
        self._lost = 0
        self._findings = 0
        self.entitle("2 Suspects")

    def beside(self, findings: int) -> None:
        """Take how many findings the audit has, whatever the events say."""
        self._findings = findings
        self.changed()

    def show(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        if (snapshot.suspects, snapshot.lost) == (self._suspects, self._lost):
            return
        self._lost = snapshot.lost
        here = self._suspects[self.cursor] if self.cursor and self._suspects else None
        self._suspects = snapshot.suspects
        for at, one in enumerate(self._suspects):
            if here and (one.pfn, one.page) == (here.pfn, here.page):
                self.cursor = at
        many = f" ({snapshot.suspected:,})" if snapshot.suspected else ""
        self.entitle(f"2 Suspects{many}")
        self.changed()

    def chosen(self, line: int) -> Suspect:
        """Return the page of a line."""
        return self._suspects[line]

    def page_at(self, line: int) -> PageName:
        """See LineView."""
        return PageName(self.chosen(line).pfn, self.chosen(line).page)

    def count(self) -> int:
        """See LineView."""
        return len(self._suspects)

    def nothing(self) -> str:
        """See LineView: a tick only when no event is lost and no audit says more."""
        if self._findings:
            return "none by the events; the audit has some (4)"
        if self._lost:
            return "none by the events that are not lost"
        return "✓ none freed while mapped, refused or bad"

    def head(self, width: int) -> str:
        """See LineView."""
        since = f"{'since s':>11} " if width >= _WIDE else ""
        return f"score {'pfn':<10} {'task':<12} {since}what disagrees"

    def line(self, index: int, width: int) -> list[Piece]:
        """See LineView."""
        one = self._suspects[index]
        page = f"{one.pfn:#x}" if one.pfn is not None else f"page {one.page or 0:#x}"
        first, *rest = one.reasons or ("",)
        return [
            (fit(f"✖{one.score}", 5) + " ", "bad"),
            (fit(page, 10) + " ", "key"),
            (fit(task(one.comm, one.pid), 12) + " ", ""),
            (fit(clock(one.first_ns), 11, right=True) + " " if width >= _WIDE else "", "dim"),
            (plain(first), "bad"),
            ("".join(f"; {plain(reason)}" for reason in rest), ""),
        ]
