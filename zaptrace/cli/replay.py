"""`zaptrace replay`: watch a recording again, in the TUI or as lines."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from zaptrace.cli.show_events import STDIO, add_printing_arguments, printed
from zaptrace.model.errors import BadInput, Exit

if TYPE_CHECKING:
    from tui.findings_text import Audited
    from tui.life_lines import Lives
    from zaptrace.model.source import Source

DEMO_SPEED = 0.01
"""The founding bug is over in a tenth of a second."""
EPILOG = """\
examples:
  zaptrace replay                       the founding bug, as it was recorded
  zaptrace replay RUN --speed 0.001     a run, a thousand times slower
  zaptrace replay capture.zap --no-tui | less
  zaptrace replay capture.zap --json | jq -r 'select(.pfn == 2688).kind'

--json prints one JSON object a line, one for each event.  Without --speed,
lines are printed as fast as they can be read.

Exit status is 1 when the recording holds a bad_page or a bad_pte, 0 when not.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Play a recording with a clock that pauses, steps, seeks and changes speed, in the same "
        "TUI that watches a live kernel; or print it, one line an event."
    )
    parser.epilog = EPILOG
    parser.add_argument(
        "recording",
        nargs="?",
        type=Path,
        metavar="CAPTURE|RUN",
        help="a capture or a run folder (- reads standard input, without the TUI); "
        "default: the founding bug",
    )
    add_printing_arguments(parser)
    parser.add_argument(
        "--speed", type=_speed, metavar="X", help="1 is real time, the TUI's default"
    )


def _speed(text: str) -> float:
    speed = float(text)
    if not (speed > 0 and math.isfinite(speed)):
        raise ValueError
    return speed


def run(args: argparse.Namespace) -> Exit:
    """Run the command.

    Raises:
        BadInput, Missing: the recording cannot be used, or the TUI cannot run here.
    """
    found = _bugs_printed(args) if printed(args) else _bugs_shown(args)
    return Exit.BUG_FOUND if found else Exit.OK


def _bugs_printed(args: argparse.Namespace) -> int:
    from zaptrace.cli.show_events import drain, line_sink

    sink = line_sink(args)
    source, ended = _printed_source(args)
    return drain(source, [sink], ended=ended).bugs


def _printed_source(args: argparse.Namespace) -> tuple[Source, Callable[[], bool]]:
    """Return the source, and what says that it has come to an end without ending."""
    from zaptrace.capture.reader import read
    from zaptrace.capture.replay import Replay
    from zaptrace.capture.stream import StreamSource
    from zaptrace.cli.stdout_pipe import abandoned

    path = _capture(args.recording)
    if args.speed is not None:
        replay = Replay(read(sys.stdin.buffer if path == STDIO else path), args.speed)
        return replay, lambda: replay.ended or abandoned()
    if path == STDIO:
        return StreamSource(sys.stdin.buffer, "standard input"), abandoned
    return StreamSource(path.open("rb", buffering=0), str(path)), lambda: False


def _bugs_shown(args: argparse.Namespace) -> int:
    from zaptrace.capture.reader import read
    from zaptrace.capture.replay import Replay
    from zaptrace.cli.event_stream import Tally, say_what_is_missing
    from zaptrace.cli.show_events import check_terminal, show

    if args.recording == STDIO:
        raise BadInput("the TUI cannot play standard input", "zaptrace replay - --no-tui")
    check_terminal("replay")
    path = _capture(args.recording)
    events = read(path)
    usual = DEMO_SPEED if args.recording is None else 1.0
    console, audit = _console(args.recording), _audit(args.recording)
    lives = _lives(args.recording)
    show(Replay(events, args.speed or usual), f"replay {path.name}", console, audit, lives)
    tally = Tally()
    tally.add(events)
    say_what_is_missing(tally)
    return tally.bugs


def _capture(recording: Path | None) -> Path:
    from zaptrace import demo
    from zaptrace.runs.folder import RunFolder

    if recording is None:
        return demo.path()
    if not recording.is_dir():
        return recording
    capture = RunFolder.open(recording).capture
    if not capture.is_file():
        raise BadInput(f"the run {recording} has no events: it was cut short before they were read")
    return capture


def _console(recording: Path | None) -> Callable[[], str] | None:
    """Return what reads a run's console log, None without one."""
    if recording is None or not recording.is_dir():
        return None
    from zaptrace.runs.folder import RunFolder

    log = RunFolder(recording).console
    return (lambda: log.read_text(errors="replace")) if log.is_file() else None


def _audit(recording: Path | None) -> Audited | None:
    """Return what is known of a run's audit, None when the recording is not a run's.

    Raises:
        BadInput: the run's audit is damaged.
    """
    if recording is None or not recording.is_dir():
        return None
    from tui.findings_text import NO_DUMP, Audited
    from zaptrace.runs.folder import RunFolder

    folder = RunFolder(recording)
    not_yet = f"no audit yet: zaptrace explain {recording} makes it"
    return Audited(folder.audit(), not_yet if folder.vmcore.is_file() else NO_DUMP)


def _lives(recording: Path | None) -> Lives | None:
    """Return what reads the life of one of a run's pages, None where the run has recorded none."""
    if recording is None or not recording.is_dir():
        return None
    from zaptrace.cli.shown_life import lives_of
    from zaptrace.runs.folder import RunFolder

    return lives_of(RunFolder(recording))
