"""A pane of lines: only those on screen are ever made."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.format import Piece
from tui.timeline import PageName

CURSOR = "▶ "
NO_CURSOR = "  "


class LineView(ScrollView, can_focus=True):
    """Lines with a cursor; a subclass says how many there are and what each says.

    A first line of column names stays in place when `HEAD` is 1.
    """

    HEAD = 0

    DEFAULT_CSS = """
    LineView {
        height: 1fr;
        background: $surface;
        color: $foreground;
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
        scrollbar-background: $surface;
        scrollbar-background-hover: $surface;
        scrollbar-background-active: $surface;
    }
    LineView > .line--head { text-style: bold; }
    LineView > .line--cursor {
        background: $block-cursor-background; color: $block-cursor-foreground; text-style: bold;
    }
    LineView > .line--dim { text-style: dim; }
    LineView > .line--zap { color: $text-secondary; }
    LineView > .line--rmap { color: $text-primary; }
    LineView > .line--warn { color: $text-warning; }
    LineView > .line--bad { color: $text-error; text-style: bold; }
    LineView > .line--good { color: $text-success; }
    LineView > .line--key { text-style: bold; }
    """
    STYLES: ClassVar[set[str]] = {
        *("head", "cursor", "dim", "zap", "rmap", "warn", "bad", "good", "key"),
    }
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"line--{name}" for name in STYLES}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "first", "First", show=False),
        Binding("end,G", "last", "Last", show=False),
        Binding("enter", "choose", "Page's story"),
    ]

    class Chosen(Message):
        """Enter, or a double click, on a line."""

        def __init__(self, view: LineView, line: int) -> None:
            super().__init__()
            self.view = view
            self.line = line

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.cursor = 0
        self._title = ""

    # What a subclass says.

    def count(self) -> int:
        """Return how many lines there are."""
        raise NotImplementedError

    def line(self, index: int, width: int) -> list[Piece]:
        """Return what one line says, in at most about `width` columns."""
        raise NotImplementedError

    def head(self, width: int) -> str:
        """Return the column names."""
        return ""

    def nothing(self) -> str:
        """Return what stands there when there is no line."""
        return ""

    def page_at(self, line: int) -> PageName | None:
        """Return the page that a line is about."""
        return None

    def why_no_page(self, line: int) -> str:
        """Return what to say of a line that is about none."""
        return "this line is about no page"

    def tab(self) -> str:
        """Return what the bar of panes calls it."""
        return str(self.border_title or "").replace(" · ", " ")

    def moved(self) -> None:
        """Hear that the user moved the cursor or the scroll position."""

    def resized(self) -> None:
        """Hear that the pane has another size."""

    # Drawing.

    def entitle(self, title: str) -> None:
        """Set the pane's title; Textual would draw the whole pane anew for the same one, too."""
        if title != self._title:
            self._title = title
            self.border_title = title

    def changed(self) -> None:
        """Lines came, went or say something else."""
        self.cursor = max(0, min(self.cursor, self.count() - 1))
        width = self.scrollable_content_region.width
        self.virtual_size = Size(width, max(self.count(), 1) + self.HEAD)
        if self.show_vertical_scrollbar:
            # After a resize in a busy process it kept the size of the pane before (Textual 8.2).
            bar, height = self.vertical_scrollbar, self.scrollable_content_region.height
            bar.window_virtual_size, bar.window_size = self.virtual_size.height, height
        self.refresh()

    def on_resize(self, event: Resize) -> None:
        """Lines are made for the width."""
        self.changed()
        self.resized()

    def render_line(self, y: int) -> Strip:
        """Return one line of the screen."""
        width = self.scrollable_content_region.width or self.size.width
        if y < self.HEAD:
            return self._strip([(NO_CURSOR + self.head(width - len(CURSOR)), "head")], width)
        index = self.scroll_offset.y + y - self.HEAD
        if not self.count() and index == 0:
            return self._strip([(NO_CURSOR + self.nothing(), "dim")], width)
        if not 0 <= index < self.count():
            return self._strip([], width)
        here = index == self.cursor
        mark = CURSOR if here and self.has_focus else NO_CURSOR
        pieces = [(mark, "key"), *self.line(index, width - len(CURSOR))]
        return self._strip(pieces, width, under_cursor=here and self.has_focus)

    def _strip(self, pieces: list[Piece], width: int, *, under_cursor: bool = False) -> Strip:
        base = self.rich_style
        if under_cursor:  # in one colour: others may not be readable on it
            base += self._style("cursor")
            pieces = [(text, "") for text, _ in pieces]
        segments = [
            Segment(text, base + self._style(name) if name else base) for text, name in pieces
        ]
        return Strip(segments).adjust_cell_length(width, base)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"line--{name}", partial=True)

    # Moving.

    def go_to(self, index: int) -> None:
        """Put the cursor on a line and show it."""
        self.cursor = max(0, min(index, self.count() - 1))
        # The head covers the first line of the viewport.
        self.scroll_to_region(
            Region(0, self.cursor, 1, 1 + self.HEAD), animate=False, force=True, x_axis=False
        )
        self.moved()
        self.refresh()

    def action_move(self, by: int) -> None:
        """Move the cursor by some lines."""
        self.go_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by some screens."""
        self.go_to(self.cursor + by * max(self.size.height - self.HEAD - 1, 1))

    def action_first(self) -> None:
        """Move the cursor to the first line."""
        self.go_to(0)

    def action_last(self) -> None:
        """Move the cursor to the last line."""
        self.go_to(self.count() - 1)

    def action_choose(self) -> None:
        """Tell the listeners that the cursor's line is chosen."""
        if self.count():
            self.post_message(self.Chosen(self, self.cursor))

    def on_click(self, event: Click) -> None:
        """Put the cursor where the click was; a double click chooses."""
        place = event.get_content_offset(self)
        if place is None or place.y < self.HEAD:
            return
        index = self.scroll_offset.y + place.y - self.HEAD
        if 0 <= index < self.count():
            self.go_to(index)
            if event.chain > 1:
                self.action_choose()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Move the lines under a resting cursor."""
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.moved()

    def watch_show_vertical_scrollbar(self, shown: bool) -> None:
        """Put the thumb where the lines are: Textual 8.2 moves it only while it is shown."""
        if shown:
            self.vertical_scrollbar.position = self.scroll_y
