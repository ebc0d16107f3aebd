"""The screen of one page's story: its events, and beside them its recorded life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Static

from tui.feed.snapshot import Snapshot
from tui.findings_text import finding_lines
from tui.format import Piece
from tui.layout import BESIDE, LOW
from tui.life_lines import Lives, life_lines
from tui.panes.key_bar import KeyBar
from tui.panes.line_view import LineView
from tui.timeline import Line, PageName, story_of, timeline_lines
from zaptrace.explain.suspects import Suspect
from zaptrace.model.errors import ZaptraceError
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


class LifeView(Timeline):
    """The lines of a page's life; none of them is about another page."""

    def __init__(self) -> None:
        super().__init__()
        self.instead = "reading the page's life ..."
        """What stands there while there are no lines."""

    def nothing(self) -> str:
        """See LineView."""
        return self.instead


class TimelineScreen(Screen[None]):
    """What happened to one page; grows while events come.

    Args:
        findings: what the audit found about it.
        lives: reads its recorded life; None where none was recorded.
    """

    DEFAULT_CSS = """
    TimelineScreen #about { background: $panel; padding: 0 1; height: auto; max-height: 75%; }
    TimelineScreen LifeView { display: none; }
    TimelineScreen.-life LifeView { display: block; }
    TimelineScreen.-life Horizontal > Timeline { display: none; }
    TimelineScreen.-life Horizontal > LifeView { display: block; }
    TimelineScreen.-life.-beside Horizontal > Timeline { display: block; }
    TimelineScreen.-life.-beside LifeView { border-left: solid $foreground 30%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.pop_screen", "Back"),
        Binding("l", "life", "Life/events"),
    ]

    def __init__(
        self,
        page: PageName,
        latest: Callable[[], Snapshot],
        findings: tuple[Finding, ...] = (),
        lives: Lives | None = None,
    ) -> None:
        super().__init__()
        self._lives = lives
        self._reading = False
        self.page = page
        self._latest = latest
        self._findings = findings
        self._shown_records: Records | None = None
        self._head = Static(id="about", markup=False)
        self._view = Timeline()
        self._life = LifeView()

    def compose(self) -> ComposeResult:
        """See Textual."""
        yield self._head
        with Horizontal():
            yield self._view
            yield self._life
        yield KeyBar()

    def on_mount(self) -> None:
        """Tell the story as far as it has come."""
        self.show(self._latest())
        self._view.focus()

    def on_resize(self, event: Resize) -> None:
        """Show both beside each other where there is room."""
        self.set_class(event.size.width >= BESIDE, "-beside")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that mean nothing now are not offered."""
        if action == "life":
            return self._lives is not None and self.page.pfn is not None
        return True

    def action_life(self) -> None:
        """Show the page's life, or no longer."""
        self.toggle_class("-life")
        shown = self.has_class("-life")
        if shown and not self._reading:
            self._reading = True
            self.run_worker(self._read_life())
        (self._life if shown else self._view).focus()

    async def _read_life(self) -> None:
        """Read it in a thread: the run's debug info takes most of a second."""
        if self._lives is None or self.page.pfn is None:
            return
        try:
            shown = await asyncio.to_thread(self._lives, self.page.pfn)
            self._life.instead = "no store to its struct page was recorded"
            self._life.lines = life_lines(shown)
        except ZaptraceError as error:
            self._life.instead = plain(str(error))
        if self._life.is_attached:
            self._life.changed()

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
