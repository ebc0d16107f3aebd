"""The screen of one page's timeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from tui.feed.snapshot import Snapshot
from tui.findings_text import finding_lines
from tui.format import Piece
from tui.layout import LOW
from tui.panes.key_bar import KeyBar
from tui.panes.line_view import LineView
from tui.timeline import Line, PageName, story_of, timeline_lines
from zaptrace.explain.suspects import Suspect
from zaptrace.model.events import Records
from zaptrace.model.findings import Finding
from zaptrace.report.words import plain

_MOST_OWNERS = 4
"""Of a finding: the timeline below needs the room."""


class Timeline(LineView):
    """The lines of a page's timeline."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "choose", show=False)]

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []

    def count(self) -> int:
        """See LineView."""
        return len(self.lines)

    def nothing(self) -> str:
        """See LineView."""
        return "no event about this page is in memory: none came, or newer ones took its place"

    def line(self, index: int, width: int) -> list[Piece]:
        """See LineView."""
        return self.lines[index]


class TimelineScreen(Screen[None]):
    """What happened to one page; grows while events come.

    Args:
        findings: what the audit found about it.
    """

    DEFAULT_CSS = """
    TimelineScreen #about { background: $panel; padding: 0 1; height: auto; max-height: 75%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.pop_screen", "Back"),
    ]

    def __init__(
        self,
        page: PageName,
        latest: Callable[[], Snapshot],
        findings: tuple[Finding, ...] = (),
    ) -> None:
        super().__init__()
        self.page = page
        self._latest = latest
        self._findings = findings
        self._shown_records: Records | None = None
        self._head = Static(id="about", markup=False)
        self._view = Timeline()

    def compose(self) -> ComposeResult:
        """See Textual."""
        yield self._head
        yield self._view
        yield KeyBar()

    def on_mount(self) -> None:
        """Tell the story as far as it has come."""
        self.show(self._latest())
        self._view.focus()

    def show(self, snapshot: Snapshot) -> None:
        """Take a newer snapshot."""
        view = self._view
        if not view.is_attached:  # the app pushes a screen first and fills it afterwards
            return
        records = story_of(self.page, snapshot)
        if self._shown_records is None or not np.array_equal(records, self._shown_records):
            self._shown_records = records
            view.lines = timeline_lines(self.page, records, snapshot.names)
            view.changed()
        self._head.update(self._about(snapshot.suspects))

    def _about(self, suspects: tuple[Suspect, ...]) -> str:
        mine = (one for one in suspects if (one.pfn, one.page)[one.pfn is None] == self._key())
        owners = 1 if self.size.height < LOW else _MOST_OWNERS
        audit = [line for finding in self._findings for line in finding_lines(finding, owners)]
        for one in mine:
            said = [f"{self.page} · ✖ suspect, score {one.score}", plain("; ".join(one.reasons))]
            return "\n".join([*said, *audit])
        if audit:
            return "\n".join([f"{self.page} · not in any event, but in the audit", *audit])
        return f"{self.page} · nothing recorded is wrong with it\n "

    def _key(self) -> int | None:
        return self.page.pfn if self.page.pfn is not None else self.page.page
