"""Work that the app watches: it runs in a thread and reports its steps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from tui.life_lines import Lives
from zaptrace.model.findings import AuditResult
from zaptrace.model.progress import Listener, Update
from zaptrace.model.source import Source
from zaptrace.model.verdict import Verdict

PATIENCE = 10.0
"""Seconds that the work has to unwind when the user quits."""


class Quit(Exception):
    """The user has quit; raised out of the listener, so that the work unwinds."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the work came to.

    Attributes:
        report: the text report.
        source: the run's events, to be looked at afterwards; None without any.
        audit: what the audit of its dump found; None when there is no dump.
        lives: reads the recorded life of a page; None where none was recorded.
    """

    verdict: Verdict
    report: str
    source: Source | None = None
    audit: AuditResult | None = None
    lives: Lives | None = None


Work = Callable[[Listener], Outcome]


class Job:
    """Runs work in a daemon thread.

    Args:
        progressed: takes each update; called from the thread.
        ended: called from the thread when it is over, with how it went: the
            outcome, what the user must know, or a bug of ours.
    """

    def __init__(
        self,
        work: Work,
        progressed: Callable[[Update], object],
        ended: Callable[[Outcome | Exception], object],
    ) -> None:
        self._work = work
        self._progressed = progressed
        self._ended = ended
        self._quit = threading.Event()
        self._thread = threading.Thread(target=self._run, name="zaptrace job", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Make the work unwind at its next word, and wait for it."""
        self._quit.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)

    def _listen(self, update: Update) -> None:
        if self._quit.is_set():
            raise Quit
        self._progressed(update)

    def _run(self) -> None:
        how: Outcome | Exception
        try:
            how = self._work(self._listen)
        except Quit:
            return
        except Exception as error:  # noqa: BLE001 - the app raises it in its own thread
            how = error
        if not self._quit.is_set():
            self._ended(how)
