"""The filter box: filters as one types, and says what is wrong with the text."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Label

from zaptrace.model import event_filter
from zaptrace.model.errors import BadInput


class FilterBar(Horizontal):
    """Not seen until it is opened; closed by Enter (keeps the filter) or Escape (clears it)."""

    DEFAULT_CSS = """
    FilterBar { height: 1; background: $panel; color: $foreground; }
    FilterBar Input {
        width: 1fr; height: 1; border: none; padding: 0 1; background: $surface;
    }
    FilterBar Label { padding: 0 1; }
    FilterBar #complaint { max-width: 60%; color: $text-error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear", "Clear", show=False),
    ]

    class Changed(Message):
        """Another filter; the predicate is None for every event."""

        def __init__(self, text: str, predicate: event_filter.Predicate | None) -> None:
            super().__init__()
            self.text = text
            self.predicate = predicate

    class Closed(Message):
        """The user is done with it."""

    def on_mount(self) -> None:
        """Close the box at first."""
        self.display = False

    def compose(self) -> ComposeResult:
        """See Textual."""
        yield Label("/", markup=False)
        yield Input(
            placeholder="pid=41  comm=kw*  kind=bad_page  pfn=0xa80  mapcount>0",
            compact=True,
            select_on_focus=False,
        )
        yield Label("", id="complaint", markup=False)

    @property
    def is_open(self) -> bool:
        """Whether the user is typing a filter."""
        return self.has_class("-open")

    def open(self) -> None:
        """Show it, with the text as it was left."""
        self.add_class("-open")
        self.display = True
        box = self.query_one(Input)
        box.cursor_position = len(box.value)
        # At once, and not after the next refresh: what is typed meanwhile is the filter.
        self.screen.set_focus(box)

    def clear(self) -> None:
        """Show every event, and close."""
        self.query_one(Input).value = ""
        self.post_message(self.Changed("", None))
        self.close()

    def action_clear(self) -> None:
        """See `clear`."""
        self.clear()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as the user types; a text that means nothing yet changes nothing."""
        event.stop()
        text = event.value.strip()
        try:
            predicate = event_filter.compile(text) if text else None
        except BadInput as error:
            self._complain(str(error).removeprefix("filter: "))
            return
        self._complain("")
        self.post_message(self.Changed(text, predicate))

    def _complain(self, what: str) -> None:
        self.query_one("#complaint", Label).update(f"✖ {what}" if what else "")

    def close(self) -> None:
        """Keep the filter."""
        if self.is_open:
            self.remove_class("-open")
            self.display = False
            self.post_message(self.Closed())
