"""`zaptrace record`: live events into a capture, without display."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zaptrace.cli.live import add_source_arguments
from zaptrace.model.errors import Exit, Missing

EPILOG = """\
examples:
  sudo zaptrace record munmap.zap --comm stress-ng --seconds 60
  zaptrace replay munmap.zap

Exit status is 1 when a bad_page or bad_pte was seen, 0 when not.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Record what `zaptrace live` would show, until Ctrl-C or for some seconds.  Needs root.  "
        "What was recorded stays readable whenever and however this ends."
    )
    parser.epilog = EPILOG
    parser.add_argument("capture", type=Path, metavar="FILE", help="the capture (- is stdout)")
    add_source_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def run(args: argparse.Namespace) -> Exit:
    """Run the command.

    Raises:
        ZaptraceError: no events can be had here, or the file cannot be written.
    """
    from zaptrace.cli.live import local_source
    from zaptrace.cli.show_events import STDIO, drain, recording
    from zaptrace.cli.stdout_pipe import abandoned

    if args.capture == STDIO and (args.json or sys.stdout.isatty()):
        raise Missing("a capture on stdout needs stdout for itself", "zaptrace record FILE")
    with recording(args.capture) as writer:
        assert writer is not None  # a path was given
        tally = drain(local_source(args), [writer.add], args.seconds, abandoned)
    outcome = {"capture": str(args.capture), "events": tally.events, "lost": tally.lost}
    if args.json:
        from zaptrace.cli.output import print_json

        print_json(outcome)
    elif args.capture != STDIO:
        print(f"{args.capture}: {tally.events:,} events, {tally.lost:,} lost")
    return Exit.BUG_FOUND if tally.bugs else Exit.OK
