"""What commands print: JSON, tables, and the progress of long work."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zaptrace.model.progress import Listener, State, Update

# rich is imported where something is drawn: a command that prints a few lines starts without it.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.progress import TaskID as Task

PLAIN_SECONDS = 15.0
"""Without a terminal, a long step prints a line this often."""


def print_json(data: Any) -> None:
    """Print the one JSON document that `--json` promises."""
    json.dump(data, sys.stdout, indent=2)
    sys.stdout.write("\n")


def console() -> Console:
    """Return a console on stdout for human text; 80 columns when it is not a terminal."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 80)


def complain(message: str, hint: str | None = None) -> None:
    """Print one error to stderr, and how to fix it."""
    from rich.console import Console
    from rich.markup import escape

    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    errors.print(f"[bold red]zaptrace:[/] {escape(message)}")
    if hint:
        errors.print(f"  [bold]try:[/] {escape(hint)}")


@contextlib.contextmanager
def progress() -> Iterator[Listener]:
    """Draw the progress of long work on stderr while the block runs."""
    if not sys.stderr.isatty():
        yield _PlainLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Bars(bars)


def print_total(timing: dict[str, float]) -> None:
    """Say on stderr how long all the steps took together."""
    print(f"{sum(timing.values()):7.2f} s in all", file=sys.stderr)


class _PlainLines:
    """One line a step; for logs."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, update: Update) -> None:
        if update.state is State.RUNNING:
            if update.done and time.monotonic() - self._said >= PLAIN_SECONDS:
                of = f" of {update.total}" if update.total else " done"
                self._say(f"         {update.title}: {update.done}{of}")
        elif update.state is not State.STARTED:
            self._say(_ended(update))

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        print(line, file=sys.stderr, flush=True)


class _Bars:
    """A bar for the step under way, and a line above it for each that is done."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, Task] = {}

    def __call__(self, update: Update) -> None:
        from rich.markup import escape

        if update.state is State.STARTED:
            self._tasks[update.step] = self._bars.add_task(update.title, total=None, note="")
        elif update.state is State.RUNNING:
            self._bars.update(
                self._tasks[update.step],
                completed=update.done or 0,
                total=update.total,
                note=escape(update.note),
            )
        else:
            self._bars.remove_task(self._tasks.pop(update.step))
            self._bars.console.print(_ended(update), highlight=False, markup=False)


def _ended(update: Update) -> str:
    mark = "✓" if update.state is State.DONE else "✗ failed:"
    note = f"  ({update.note})" if update.note else ""
    return f"{update.seconds or 0:7.2f} s {mark} {update.title}{note}"
