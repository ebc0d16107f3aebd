"""Looks at the guest's console now and then, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tui.panes.console_pane import ConsoleLog, read_log

PERIOD = 0.3
"""Seconds between looks."""


class ConsoleWatch:
    """Reads and parses a log whenever it has changed.

    Args:
        read: the whole text of the console so far.
        post: takes the log; called from the thread.
        broken: takes an exception that is a bug of ours; called from the thread.
    """

    def __init__(
        self,
        read: Callable[[], str],
        post: Callable[[ConsoleLog], object],
        broken: Callable[[BaseException], object],
    ) -> None:
        self._read = read
        self._post = post
        self._broken = broken
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="zaptrace console", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End; returns when the thread has."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(PERIOD * 2)

    def _run(self) -> None:
        seen = ""
        try:
            while not self._stopped.is_set():
                text = self._read()
                if text != seen:
                    seen = text
                    self._post(read_log(text))
                self._stopped.wait(PERIOD)
        except Exception as error:  # noqa: BLE001 - the app raises it in its own thread
            self._broken(error)
