"""The event table: newest first, filtered, following or held."""

from __future__ import annotations

from tui.feed.filtered_view import Window
from tui.feed.ring import Chunk
from tui.feed.snapshot import Snapshot
from tui.feed.symbols import Names
from tui.format import (
    Piece,
    clock,
    count,
    detail,
    fit,
    kind_of,
    mapcount_of,
    number_of,
    page,
    task,
)
from tui.panes.line_view import LineView
from tui.timeline import PageName, page_of
from zaptrace.model.event_filter import Predicate
from zaptrace.model.events import ABSENT_I32, KINDS, NO_CPU, Kind, Records

_NARROW = 96  # columns


class EventTable(LineView):
    """A bounded window on the stream.

    It follows the newest event until it is held; it is held by `hold()`, and
    by moving the cursor or the scroll bar off the top.
    """

    HEAD = 1

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.held = False
        self.filter = ""
        self._window = Window()
        self._names = Names()
        self._chunks: tuple[Chunk, ...] = ()
        self._newest: tuple[Chunk, ...] = ()
        self._generation = 0

    def show(self, snapshot: Snapshot) -> None:
        """Take a snapshot; a held table shows it later."""
        if snapshot.generation != self._generation:
            self._generation = snapshot.generation
            self.held = False
            self.cursor = 0
            self.scroll_to(y=0, animate=False)
        self._newest, self._names = snapshot.chunks, snapshot.names
        if not self.held:
            self._look()
        self._say()

    def set_filter(self, text: str, predicate: Predicate | None) -> None:
        """Show only some events."""
        self.filter = text
        self._window = Window(predicate)
        self._window.show(self._chunks)
        self.cursor = 0
        self.scroll_to(y=0, animate=False)
        self.changed()
        self._say()

    def hold(self) -> None:
        """Keep what is shown."""
        self.held = True
        self._say()

    def follow(self) -> None:
        """Show the newest again."""
        self.cursor = 0
        self.scroll_to(y=0, animate=False)
        self.held = False
        self._look()
        self._say()

    def chosen(self, line: int) -> tuple[int, Records]:
        """Return serial number and record of a line."""
        return self._window.at(line)

    def page_at(self, line: int) -> PageName | None:
        """See LineView."""
        return page_of(self.chosen(line)[1])

    def moved(self) -> None:
        """Off the top: what the user looks at must not run away."""
        if (self.cursor > 0 or self.scroll_offset.y > 0) and not self.held:
            self.hold()

    def _look(self) -> None:
        if _end(self._newest) != _end(self._chunks) or not self._newest:
            self._chunks = self._newest
            self._window.show(self._chunks)
            self.changed()

    def _say(self) -> None:
        """Say in the pane's title what of the stream is seen."""
        said = ["1 Events"]
        if self.filter:
            said.append(f"filter: {self.filter} ({len(self._window):,} match)")
        if self.held:
            last = _end(self._chunks)
            said.append(f"‖ HELD, {_end(self._newest) - last:,} newer (space follows)")
        self.entitle(" · ".join(said))

    # Lines.

    def count(self) -> int:
        """See LineView."""
        return len(self._window)

    def nothing(self) -> str:
        """See LineView."""
        return "no event matches the filter" if self.filter else "no events yet"

    def tab(self) -> str:
        """See LineView."""
        return "1 Events"

    def head(self, width: int) -> str:
        """See LineView."""
        wide = width >= _NARROW
        return " ".join(
            (
                fit("clock s", 11, right=True),
                fit("cpu", 3, right=True),
                fit("task", 22 if wide else 14),
                "  " + fit("event", 11),
                fit("pfn", 14 if wide else 11),
                fit("map", 3, right=True),
                fit("ref", 3, right=True),
                "detail",
            )
        )

    def line(self, index: int, width: int) -> list[Piece]:
        """See LineView."""
        _, record = self._window.at(index)
        kind, mapcount = kind_of(record), mapcount_of(record)
        wide = width >= _NARROW
        cpu = number_of(record, "cpu", NO_CPU)
        refcount = number_of(record, "refcount", ABSENT_I32)
        style = KINDS[kind].style
        wrong = style if style in ("bad", "warn") else _underflow(kind, mapcount)
        used = 11 + 4 + (23 if wide else 15) + 14 + (15 if wide else 12) + 8 + 1
        return [
            (fit(clock(number_of(record, "clock")), 11, right=True), "dim"),
            (" " + fit(count(cpu), 3, right=True) + " ", ""),
            (fit(task(record), 22 if wide else 14) + " ", ""),
            (f"{KINDS[kind].mark} {fit(kind.name.lower(), 11)} ", style),
            (fit(page(record), 14 if wide else 11) + " ", ""),
            (fit(count(mapcount), 3, right=True), wrong),
            (" " + fit(count(refcount), 3, right=True) + " ", ""),
            (fit(detail(record, self._names), max(width - used, 1)), "dim"),
        ]


def _underflow(kind: Kind, mapcount: int | None) -> str:
    return "bad" if kind is Kind.RMAP_REMOVE and mapcount is not None and mapcount < 1 else ""


def _end(chunks: tuple[Chunk, ...]) -> int:
    """Return the serial number after the last record."""
    return chunks[-1].first + len(chunks[-1].records) if chunks else 0
