"""`zaptrace explain`: the verdict of a run, or of console logs, from whatever there is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from zaptrace.cli.repro import exit_code
from zaptrace.model.errors import BadInput, Exit
from zaptrace.model.verdict import VerdictKind

if TYPE_CHECKING:
    from zaptrace.runs.explain_logs import LogResult

FORMATS = ("text", "html", "json")
EPILOG = """\
examples:
  zaptrace explain                           the newest run
  zaptrace explain DIR --json                the verdict of a run as JSON
  zaptrace explain console.log               what a console alone shows
  dmesg | zaptrace explain -                 the same of the running kernel
  zaptrace explain console.log --vmlinux vmlinux --source ~/linux
                                             with the lines of the source
  zaptrace explain *.log.gz --format html -o bug.html

A log is a file (plain, gzip, xz, zstd), - for standard input, or a folder of
logs.  Each of several logs is explained by itself; the worst is
printed, with what stands out in all of them.

Exit status is 1 when a bug was found (an oops in the code that handles pages is
one), 0 for the verdict "clean", 125 when the evidence leaves it open.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Explain a run again, from whatever its folder holds: events, console, vmcore.  A run "
        "that was cut short is explained as far as it got.  Or explain console logs alone: the "
        "same rules, on what the kernel printed and no more.  Prints a report that fits a "
        "mailing-list mail."
    )
    parser.epilog = EPILOG
    parser.add_argument(
        "what",
        nargs="*",
        metavar="RUN|LOG",
        help="a run folder (default: the newest), or console logs",
    )
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="as JSON")
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="of a log's report; default: text"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where a log's report goes; - is stdout"
    )
    parser.add_argument(
        "--vmlinux", type=Path, help="logs: the kernel that wrote them, with DWARF, for lines"
    )
    parser.add_argument(
        "--source", type=Path, metavar="DIR", help="logs: show the lines of this kernel tree"
    )


def run(args: argparse.Namespace) -> Exit:
    """Run the command.

    Raises:
        BadInput: neither a run nor a log, or options that do not fit.
    """
    what: list[str] = args.what
    if not what or (len(what) == 1 and (Path(what[0]) / "run.json").is_file()):
        return _run(Path(what[0]) if what else None, args)
    return _logs(what, args)


def _run(path: Path | None, args: argparse.Namespace) -> Exit:
    from zaptrace.cli.output import print_json
    from zaptrace.model.progress import ignore
    from zaptrace.runs.explain_run import analyse
    from zaptrace.runs.folder import RunFolder

    if args.vmlinux or args.source or args.output or args.format == "html":
        raise BadInput(
            "--vmlinux, --source, --output and --format html are for logs: a run knows its own",
            "zaptrace report RUN --format html",
        )
    folder = RunFolder.open(path)
    result = analyse(folder, folder.facts(), ignore)
    if args.format == "json":
        print_json(result.document)
    else:
        print(result.report)
    return exit_code(result, expected=None)


def _logs(names: list[str], args: argparse.Namespace) -> Exit:
    from zaptrace.cli.report import put
    from zaptrace.runs.explain_logs import explain_logs
    from zaptrace.runs.log_files import log_files

    if args.source and not args.source.is_dir():
        raise BadInput(f"{args.source}: there is no such source tree")
    result = explain_logs(log_files(names), args.vmlinux)
    put(_rendered(result, args).encode("utf-8", "replace"), args.output or Path("-"))
    if result.suspicious:
        return Exit.BUG_FOUND
    kind = result.verdict.kind
    return Exit.CANNOT_TELL if kind is VerdictKind.UNEXPLAINED else Exit.OK


def _rendered(result: LogResult, args: argparse.Namespace) -> str:
    import json

    from zaptrace.report.html.page import page
    from zaptrace.report.source_excerpt import read_sources
    from zaptrace.report.text import render

    if args.format == "json":
        return json.dumps(result.document, indent=2) + "\n"
    sites = result.verdict.sites
    sources = read_sources(args.source, sites) if args.source and sites else None
    if args.format == "html":
        return page(result.verdict, result.info, sources=sources)
    return render(result.verdict, result.info, sources)
