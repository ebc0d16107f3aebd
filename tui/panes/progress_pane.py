"""The steps pane: what the work has done, is doing, and how long it took."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text
from textual.widgets import Static

from zaptrace.model.errors import ZaptraceError
from zaptrace.model.progress import State, Update
from zaptrace.report.words import plain

_MARKS = {
    State.STARTED: "●",
    State.RUNNING: "●",
    State.DONE: "✓",
    State.FAILED: "✖",
}
_BAR = 16  # columns


class Steps(Static):
    """One row a step, in the order in which they began."""

    DEFAULT_CSS = """
    Steps { height: auto; background: $surface; color: $foreground; }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._updates: dict[str, Update] = {}
        self._end: Text | None = None
        self.border_title = "Steps"

    def show_step(self, update: Update) -> None:
        """Take a piece of news."""
        self._updates[update.step] = update
        self.update(self._drawn())

    def fail(self, error: ZaptraceError) -> None:
        """Show the error that the work ended with."""
        self._end = Text(f"✖ {error}", style="bold")
        if error.hint:
            self._end.append(f"\n  {error.hint}", "not bold")
        self.update(self._drawn())

    def done(self, words: str) -> None:
        """Show that the work is done."""
        self._end = Text(words, style="bold")
        self.update(self._drawn())

    def _drawn(self) -> Table:
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(width=1)
        grid.add_column(ratio=2, no_wrap=True, overflow="ellipsis")
        grid.add_column(justify="right", width=8)
        grid.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
        for update in self._updates.values():
            grid.add_row(*_row(update))
        if self._end is None:
            return grid
        both = Table.grid(expand=True)
        both.add_row(grid)
        both.add_row(self._end)
        return both


def _row(update: Update) -> tuple[Text, Text, Text, Text]:
    running = update.state in (State.STARTED, State.RUNNING)
    seconds = "" if update.seconds is None else f"{update.seconds:.1f} s"
    note = "failed" if update.state is State.FAILED and not update.note else plain(update.note)
    if running and update.done is not None and update.total:
        note = f"{bar(update.done / update.total, _BAR)} {note}"
    style = "bold" if running or update.state is State.FAILED else ""
    return (
        Text(_MARKS[update.state], style),
        Text(plain(update.title), style),
        Text(seconds or ("..." if running else "")),
        Text(note),
    )


def bar(share: float, width: int) -> str:
    """Return `━━━━──── 50%`."""
    share = min(max(share, 0.0), 1.0)
    full = round(share * width)
    return "━" * full + "─" * (width - full) + f" {share:4.0%}"
