"""`zaptrace splat`: the kernel's own reports out of console logs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zaptrace.model.errors import BadInput, Exit

if TYPE_CHECKING:
    from zaptrace.runs.read_logs import LogReports

LIMIT = 20
"""Reports of one kind that are shown without --all."""
EXAMPLES = """\
examples:
  zaptrace splat console.log             what the kernel complained about
  dmesg | zaptrace splat -               the same of the running kernel
  zaptrace splat --json console.log | jq -r '.[] | select(.pfn) | .pfn'
  zaptrace splat --group /var/log/netconsole/*.log.xz
                                         many logs: which hosts and kernels
  zaptrace splat --fail-on warning --junit splat.xml console.log
                                         in a CI
  zaptrace explain console.log           what it may mean, at length

A log may be a serial log, dmesg output or a journald export, of an old or a new
kernel, however noisy: interleaved CPUs, lost lines, CRLF, terminal escapes;
plain or compressed by gzip, xz or zstd.  A folder stands for the logs in it.

Reports of one bug have the same fingerprint: it is made of the kind, the
reason, the page's nature and the functions at fault, not of addresses, pfns or
pids.

Exit status is 1 when a report is about pages (a bad page, page table, swap
entry, or counter of an mm), 0 when none is.  With --fail-on, 1 is for a report
of that class or a worse one: bug (a BUG, an oops, a panic, a bad page),
warning (a WARN too), any (a page dump too).
"""
FAIL_ON = ("bug", "warning", "any")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        'Find every report about pages in console logs ("BUG: Bad page state", "BUG: Bad page '
        'map", "BUG: Bad rss-counter state", VM_BUG_ON and the like), with page, task, counters '
        "and call trace, and say what stands out in them; other BUG and WARNING reports are "
        "listed too."
    )
    parser.epilog = EXAMPLES
    parser.add_argument(
        "log", nargs="+", metavar="CONSOLE.log", help="the logs; - reads standard input"
    )
    parser.add_argument(
        "--all", action="store_true", help=f"show every report, not {LIMIT} of each kind"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show the lines among each report that no rule reads"
    )
    parser.add_argument(
        "--group", action="store_true", help="group the reports by fingerprint: hosts and kernels"
    )
    parser.add_argument("--json", action="store_true", help="print the reports as JSON")
    result = parser.add_argument_group("for a CI")
    result.add_argument(
        "--fail-on",
        type=_classes,
        metavar="CLASS",
        help="exit with 1 for a report of this class or a worse one: bug, warning, any",
    )
    result.add_argument(
        "--junit", type=Path, metavar="FILE", help="write JUnit XML: a test case a log"
    )
    result.add_argument("--ktap", type=Path, metavar="FILE", help="write KTAP: a test a log")


def _classes(text: str) -> str:
    """Return the widest of some classes, `bug,warning`."""
    named = [one.strip() for one in text.split(",")]
    if unknown := next((one for one in named if one not in FAIL_ON), None):
        raise argparse.ArgumentTypeError(f"{unknown!r} is not one of {', '.join(FAIL_ON)}")
    return max(named, key=FAIL_ON.index)


def run(args: argparse.Namespace) -> Exit:
    """Run the command.

    Raises:
        BadInput, Missing: the only log there is cannot be read.
    """
    from zaptrace.runs.log_files import log_files
    from zaptrace.runs.read_logs import read_all, read_one

    files = log_files(args.log)
    logs = [read_one(files[0])] if len(files) == 1 else list(read_all(files))
    _print(logs, args)
    if args.junit or args.ktap:
        _write_cases(logs, args)
    problems = [log for log in logs if log.problem]
    for log in problems:
        print(f"zaptrace: {log.problem}", file=sys.stderr)
    if problems and not any(_fails(log, args.fail_on) for log in logs):
        return Exit.USAGE
    return Exit.BUG_FOUND if any(_fails(log, args.fail_on) for log in logs) else Exit.OK


def _print(logs: Sequence[LogReports], args: argparse.Namespace) -> None:
    if args.group:
        _print_groups(logs, as_json=args.json)
    elif args.json:
        import json

        document = [splat.to_json() for log in logs for splat in log.splats]
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        from zaptrace.report.splats import listing

        sys.stdout.write(
            listing(
                [(log.origin.name, log.splats, log.boot, log.copies) for log in logs],
                limit=None if args.all else LIMIT,
                verbose=args.verbose,
            )
        )


def _print_groups(logs: Sequence[LogReports], *, as_json: bool) -> None:
    from zaptrace.report.splat_groups import describe_groups
    from zaptrace.triage.groups import group

    groups = group((log.origin, log.splats) for log in logs)
    if as_json:
        import json

        sys.stdout.write(json.dumps([one.to_json() for one in groups], indent=2) + "\n")
    else:
        sys.stdout.write(describe_groups(groups, logs=len(logs)))


def _fails(log: LogReports, fail_on: str | None) -> bool:
    from zaptrace.splat.kinds import any_about_pages
    from zaptrace.triage.fingerprint import severity

    if fail_on is None:
        return any_about_pages(log.splats)
    worst = FAIL_ON.index(fail_on)
    return any(FAIL_ON.index(severity(splat)) <= worst for splat in log.splats)


def _write_cases(logs: Sequence[LogReports], args: argparse.Namespace) -> None:
    from zaptrace.report.ci import junit, ktap
    from zaptrace.report.splats import case

    cases = [
        case(log.origin.name, log.splats, fails=_fails(log, args.fail_on), problem=log.problem)
        for log in logs
    ]
    try:
        if args.junit is not None:
            args.junit.write_bytes(junit("zaptrace.splat", cases))
        if args.ktap is not None:
            args.ktap.write_text(ktap("zaptrace.splat", cases))
    except OSError as error:
        raise BadInput(f"cannot write {error.filename}: {error.strerror}") from error
