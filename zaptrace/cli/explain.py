"""`zaptrace explain`: the verdict of a run, from whatever the run holds."""

from __future__ import annotations

import argparse
from pathlib import Path

from zaptrace.cli.repro import exit_code
from zaptrace.model.errors import Exit

HELP = "explain a run: which page, freed by whom, in which order, at which line"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Explain a run again, from whatever its folder holds: events, console, vmcore.  A run "
        "that was cut short is explained as far as it got.  Prints a report that fits a "
        "mailing-list mail."
    )
    parser.epilog = (
        "examples:\n"
        "  zaptrace explain                 the newest run\n"
        "  zaptrace explain DIR --json      the verdict as JSON\n"
        '\nExit status is 1 when a bug was found, 0 for the verdict "clean".'
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, metavar="RUN", help="a run folder; default: the newest"
    )
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    from zaptrace.cli.output import print_json
    from zaptrace.model.progress import ignore
    from zaptrace.runs.analysis import analyse
    from zaptrace.runs.folder import RunFolder

    folder = RunFolder.open(args.folder)
    result = analyse(folder, folder.facts(), ignore)
    if args.json:
        print_json(result.document)
    else:
        print(result.report)
    return exit_code(result, expected=None)
