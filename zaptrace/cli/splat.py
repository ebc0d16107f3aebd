"""`zaptrace splat`: the kernel's own reports out of a console log."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from zaptrace.model.errors import BadInput, Exit

HELP = "find the kernel's bad-page reports in a console log"
LIMIT = 20
"""Reports of one kind that are shown when not all were asked for."""
EXAMPLES = """\
examples:
  zaptrace splat console.log             what the kernel complained about
  dmesg | zaptrace splat -               the same of the running kernel
  zaptrace splat --json console.log | jq -r '.[] | select(.pfn) | .pfn'

Serial logs, dmesg output and journald exports will do, of old and of new
kernels, however noisy: interleaved CPUs, lost lines, CRLF, terminal escapes.

Exit status is 1 when a report is about pages (a bad page, page table, swap
entry, or counter of an mm), 0 when none is.
"""
_NOT_TEXT = {
    b"\x7fELF": ("an ELF file", "zaptrace inspect {path} --vmlinux VMLINUX"),
    b"\x1f\x8b": ("compressed", "zcat {path} | zaptrace splat -"),
    b"\x28\xb5\x2f\xfd": ("compressed", "zstdcat {path} | zaptrace splat -"),
    b"\xfd7zXZ": ("compressed", "xzcat {path} | zaptrace splat -"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        'Find every report about pages in a console log ("BUG: Bad page state", "BUG: Bad page '
        'map", "BUG: Bad rss-counter state", VM_BUG_ON and the like), with page, task, counters '
        "and call trace; other BUG and WARNING reports are listed too."
    )
    parser.epilog = EXAMPLES
    parser.add_argument("log", metavar="CONSOLE.log", help="the log; - reads standard input")
    parser.add_argument(
        "--all", action="store_true", help=f"show every report, not {LIMIT} of each kind"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show the lines among each report that no rule reads"
    )
    parser.add_argument("--json", action="store_true", help="print the reports as JSON")


def run(args: argparse.Namespace) -> Exit:
    """Run the command."""
    from zaptrace.cli.output import print_json
    from zaptrace.report.splats import describe, unread
    from zaptrace.splat import parse
    from zaptrace.splat.kinds import any_about_pages

    splats = parse(_read(args.log))
    if args.json:
        print_json([splat.to_json() for splat in splats])
    else:
        print(describe(splats, limit=None if args.all else LIMIT), end="")
        if args.verbose:
            print(unread(splats), end="")
    return Exit.BUG_FOUND if any_about_pages(splats) else Exit.OK


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    path = Path(name)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {name}: {error.strerror}") from error
    for magic, (what, mends) in _NOT_TEXT.items():
        if data.startswith(magic):
            raise BadInput(f"{name} is {what}, not a console log", mends.format(path=path))
    return data
