"""What the app's threads send to it; a newer picture replaces an older one."""

from __future__ import annotations

from textual.message import Message

from tui.background_job import Outcome
from tui.feed.snapshot import Snapshot
from tui.panes.console_pane import ConsoleLog
from zaptrace.model.progress import Update


class Shot(Message):
    """A snapshot of the source."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot

    def can_replace(self, message: Message) -> bool:
        """Return whether a newer picture replaces this one (see Textual): only the newest is
        drawn."""
        return isinstance(message, Shot)


class ConsoleSaid(Message):
    """The console's log, as it is now."""

    def __init__(self, log: ConsoleLog) -> None:
        super().__init__()
        self.log = log

    def can_replace(self, message: Message) -> bool:
        """Return whether a newer picture replaces this one (see Textual): only the newest is
        drawn."""
        return isinstance(message, ConsoleSaid)


class JobProgressed(Message):
    """News of a step; each is shown, in order."""

    def __init__(self, update: Update) -> None:
        super().__init__()
        self.update = update


class JobEnded(Message):
    """How the work went."""

    def __init__(self, how: Outcome | Exception) -> None:
        super().__init__()
        self.how = how


class Broken(Message):
    """A thread of ours failed: a bug, to be raised where it shows."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error
