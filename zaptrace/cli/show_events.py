"""Watching a source, in the TUI or as lines: what live, record and replay have in common."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from zaptrace.model.errors import BadInput, Missing, ZaptraceError

if TYPE_CHECKING:
    from tui.findings_text import Audited
    from tui.life_lines import Lives
    from zaptrace.capture.writer import Writer
    from zaptrace.cli.event_stream import Sink, Tally
    from zaptrace.model.events import Events
    from zaptrace.model.source import Source

STDIO = Path("-")


def add_printing_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for how events are shown without the TUI."""
    parser.add_argument("--no-tui", action="store_true", help="print one line an event")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object an event (no TUI)"
    )
    parser.add_argument(
        "--filter", metavar="WORDS", help='print only these, like "kind=bad_page pfn=0xa80"'
    )


def printed(args: argparse.Namespace) -> bool:
    """Return whether lines are wanted, and not the TUI.

    Raises:
        BadInput: --filter without lines.
    """
    lines: bool = args.no_tui or args.json
    if args.filter is not None and not lines:
        raise BadInput("--filter is for printed lines", "--no-tui; in the TUI, press /")
    return lines


def line_sink(args: argparse.Namespace) -> Sink:
    """Return what prints an increment on stdout, as the arguments want it.

    Raises:
        BadInput: --filter makes no sense.
    """
    from zaptrace.report.event_lines import JsonLines, Plain, to

    sink = to(sys.stdout, JsonLines() if args.json else Plain())
    if args.filter is None:
        return sink
    from zaptrace.model import event_filter

    keep = event_filter.compile(args.filter)
    return lambda events: sink(
        dataclasses.replace(events, records=events.records[keep(events.records)])
    )


def drain(
    source: Source,
    sinks: list[Sink],
    seconds: float | None = None,
    ended: Callable[[], bool] = lambda: False,
) -> Tally:
    """Read a source to its end, to a signal or for some time; say what is missing; close it."""
    from zaptrace.cli.event_stream import pump, say_what_is_missing, until

    try:
        with until(seconds) as stop:
            tally = pump(source, sinks, lambda: stop() or ended())
    finally:
        source.close()
    say_what_is_missing(tally)
    return tally


def at_terminal() -> bool:
    """Return whether a person sits in front: Textual reads keys from stdin and draws on stderr."""
    return all(file.isatty() for file in (sys.stdin, sys.stdout, sys.stderr))


def check_terminal(command: str) -> None:
    """Refuse the TUI where it cannot run, before anything is set up.

    Raises:
        Missing: no terminal, or no textual.
    """
    if not at_terminal():
        raise Missing("the TUI needs a terminal", f"zaptrace {command} --no-tui")
    try:
        import textual  # noqa: F401  only whether it is there
    except ModuleNotFoundError:
        raise Missing(
            "the TUI needs textual, which is not installed",
            f"make setup, or zaptrace {command} --no-tui",
        ) from None


def show(
    source: Source,
    title: str,
    console: Callable[[], str] | None = None,
    audit: Audited | None = None,
    lives: Lives | None = None,
) -> None:
    """Run the TUI on a source until the user leaves it; the app closes the source."""
    from tui.app import ZapApp

    try:
        ZapApp(source, title=title, console=console, audit=audit, lives=lives).run()
    finally:
        source.close()


@contextlib.contextmanager
def recording(target: Path | None) -> Iterator[Writer | None]:
    """Give a writer of a new capture at a path (- is stdout), or None without a path.

    Raises:
        Missing: it cannot be written.
    """
    if target is None:
        yield None
        return
    from zaptrace.capture.writer import Writer

    with Writer(sys.stdout.buffer if target == STDIO else target) as writer:
        yield writer


class Recorded:
    """A source whose increments are written down as they pass, and counted."""

    def __init__(self, source: Source, writer: Writer | None) -> None:
        from zaptrace.cli.event_stream import Tally

        self._source = source
        self._writer = writer
        self._broke: ZaptraceError | None = None
        self._tally = Tally()

    def read(self, seconds: float) -> Events | None:
        """See `Source.read`."""
        try:
            events = self._source.read(seconds)
        except ZaptraceError as error:
            self._broke = error
            raise
        if events is not None:
            self._tally.add(events)
            if self._writer is not None:
                self._writer.add(events)
        return events

    def close(self) -> None:
        """See `Source.close`."""
        self._source.close()

    def tally(self) -> Tally:
        """Return what passed; what of it is missing is said on stderr.

        Raises:
            ZaptraceError: the source broke, which the TUI has shown, but does not return.
        """
        from zaptrace.cli.event_stream import say_what_is_missing

        say_what_is_missing(self._tally)
        if self._broke is not None:
            raise self._broke
        return self._tally
