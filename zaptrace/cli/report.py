"""`zaptrace report`: a run for people, browsers, notebooks and viewers."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zaptrace.model.errors import BadInput, Exit, Missing

if TYPE_CHECKING:
    from zaptrace.model.findings import Owner
    from zaptrace.model.progress import Update
    from zaptrace.model.pte_window import TableWindow
    from zaptrace.model.verdict import Verdict
    from zaptrace.report.life import ShownLife
    from zaptrace.report.run_info import RunInfo
    from zaptrace.report.source_excerpt import Sources
    from zaptrace.runs.folder import RunFolder

STDOUT = Path("-")
EPILOG = """\
formats:
  text      72 columns, fit for a mailing list (on stdout)
  html      one page for any browser, works offline (RUN/report.html);
            with the page's recorded life, each store with its stack
  json      what explain --json prints (on stdout)
  parquet   events, pages and findings, a file each (RUN/*.parquet)
  perfetto  a trace for ui.perfetto.dev (RUN/trace.pftrace)

examples:
  zaptrace report                                the newest run, as text
  zaptrace report RUN --format html -o bug.html
  zaptrace report RUN --source ~/linux
  zaptrace report RUN --format parquet -o FOLDER

Exit status is 1 when the run holds a bug, 0 when it is clean.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Make a report of a run.  A run that has not been explained yet is explained first."
    )
    parser.epilog = EPILOG
    parser.add_argument(
        "folder", nargs="?", type=Path, metavar="RUN", help="a run folder; default: the newest"
    )
    parser.add_argument("--format", choices=sorted(_WRITERS), default="text", help="default: text")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="as JSON")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where it goes; - is standard output"
    )
    parser.add_argument(
        "--source",
        "--source-tree",
        type=Path,
        metavar="DIR",
        help="text, html: show the lines of this kernel tree; default: the tree that the run "
        "built, the lab kernel's own, or the folder that the kernel was compiled in",
    )


def run(args: argparse.Namespace) -> Exit:
    """Run the command.

    Raises:
        BadInput, Missing: the run lacks what the format shows.
    """
    from zaptrace.runs.folder import RunFolder

    folder = RunFolder.open(args.folder)
    if args.source and not args.source.is_dir():
        raise Missing(f"{args.source}: there is no such source tree")
    document = _explained(folder)
    _WRITERS[args.format](folder, document, args)
    kind = document["verdict"]["kind"]
    if kind == "unexplained" and not document.get("suspicious", True):
        return Exit.CANNOT_TELL
    return Exit.OK if kind == "clean" else Exit.BUG_FOUND


def _explained(folder: RunFolder) -> dict[str, Any]:
    """Return what verdict.json says; made when the run has none yet.

    Raises:
        BadInput: it is not a verdict.
    """
    from zaptrace.report.saved_verdict import verdict_of

    document = folder.verdict()
    if document is None:
        from zaptrace.model.progress import ignore
        from zaptrace.runs.explain_run import analyse

        document = analyse(folder, folder.facts(), ignore).document
    verdict_of(document)
    return document


def _text(folder: RunFolder, document: dict[str, Any], args: argparse.Namespace) -> None:
    from zaptrace.report.saved_verdict import verdict_of
    from zaptrace.report.text import render

    verdict = verdict_of(document)
    text = render(verdict, _info(folder, document), _sources(folder, verdict, args.source))
    put(text.encode("utf-8", "replace"), args.output or STDOUT)


def _json(_folder: RunFolder, document: dict[str, Any], args: argparse.Namespace) -> None:
    put((json.dumps(document, indent=2) + "\n").encode(), args.output or STDOUT)


def _html(folder: RunFolder, document: dict[str, Any], args: argparse.Namespace) -> None:
    from zaptrace.capture.reader import read
    from zaptrace.report.html.page import page
    from zaptrace.report.saved_verdict import verdict_of

    verdict = verdict_of(document)
    text = page(
        verdict,
        _info(folder, document),
        events=read(folder.capture) if folder.capture.is_file() else None,
        window=_page_tables(folder, verdict),
        sources=_sources(folder, verdict, args.source),
        life=_life(folder, verdict),
    )
    put(text.encode("utf-8", "replace"), args.output or folder.path / "report.html")


def _life(folder: RunFolder, verdict: Verdict) -> ShownLife | None:
    """Return the life of the verdict's page; None when the run has not kept it."""
    from zaptrace.cli.shown_life import shown_life
    from zaptrace.model.errors import ZaptraceError
    from zaptrace.runs.run_life import open_life

    if verdict.pfn is None or not folder.life.is_file():
        return None
    try:
        lives = open_life(folder)
    except ZaptraceError as error:  # a section less
        print(f"zaptrace: no life of the page: {error}", file=sys.stderr)
        return None
    if lives.account(verdict.pfn, folder.audit()) is None:
        return None
    return shown_life(lives, verdict.pfn)


def _parquet(folder: RunFolder, _document: dict[str, Any], args: argparse.Namespace) -> None:
    from zaptrace import open_run
    from zaptrace.report.parquet import write

    into = args.output or folder.path
    if into == STDOUT:
        raise BadInput("Parquet is three files: it does not go to standard output", "-o FOLDER")
    into.mkdir(parents=True, exist_ok=True)
    for path in write(open_run(folder.path), into):
        _say(path)


def _perfetto(folder: RunFolder, _document: dict[str, Any], args: argparse.Namespace) -> None:
    from zaptrace.capture.reader import read
    from zaptrace.report.perfetto import trace

    if not folder.capture.is_file():
        raise BadInput(f"the run {folder.path} has no events: there is no trace to make")
    put(trace(read(folder.capture)), args.output or folder.path / "trace.pftrace")


_WRITERS: dict[str, Callable[[RunFolder, dict[str, Any], argparse.Namespace], None]] = {
    "text": _text,
    "html": _html,
    "json": _json,
    "parquet": _parquet,
    "perfetto": _perfetto,
}


def _info(folder: RunFolder, document: dict[str, Any]) -> RunInfo:
    from zaptrace.report.saved_verdict import info_of

    facts = folder.facts()
    console = folder.console.read_bytes() if folder.console.is_file() else b""
    return info_of(document, machine=facts.machine, qemu=facts.qemu, console=console)


def _sources(folder: RunFolder, verdict: Verdict, given: Path | None) -> Sources | None:
    """Return the lines of the verdict's sites, out of the available tree; None without one."""
    from zaptrace.report.source_excerpt import read_sources

    if not verdict.sites:
        return None
    facts = folder.facts()
    own = Path(facts.kernel_tree) if facts.kernel_tree else None
    tree = given or (own if own and own.is_dir() else _tree(Path(facts.vmlinux)))
    return read_sources(tree, verdict.sites) if tree else None


def _tree(vmlinux: Path) -> Path | None:
    """Return the source of a lab kernel, or the folder that a kernel was compiled in."""
    from vm.labsource import lab_source
    from zaptrace.memory.resolve import compiled_in
    from zaptrace.memory.vmlinux import open_vmlinux
    from zaptrace.model.errors import ZaptraceError

    try:
        return lab_source(vmlinux, _tell) or compiled_in(open_vmlinux(vmlinux))
    except ZaptraceError as error:
        # A report without the lines themselves is one all the same.
        print(f"zaptrace: no source lines: {error}", file=sys.stderr)
        return None


def _tell(update: Update) -> None:
    from zaptrace.model.progress import State

    if update.state is State.STARTED:
        print(f"zaptrace: {update.title} …", file=sys.stderr)


def _page_tables(folder: RunFolder, verdict: Verdict) -> TableWindow | None:
    """Return the page tables around the verdict's page; None when the run cannot show them."""
    from zaptrace.model.errors import ZaptraceError

    owner = _owner(verdict)
    if owner is None or not folder.vmcore.is_file():
        return None
    from zaptrace.audit.pagetables.pte_window import around
    from zaptrace.memory.open import open_program

    try:
        prog = open_program(folder.vmcore, Path(folder.facts().vmlinux))
        return around(prog, owner, verdict.pfn)
    except ZaptraceError as error:
        # A picture less: the vmlinux may be gone long after the run was explained.
        print(f"zaptrace: no page-table picture: {error}", file=sys.stderr)
        return None


def _owner(verdict: Verdict) -> Owner | None:
    """Return who mapped the verdict's page, and where."""
    owners = (owner for finding in verdict.proof for owner in finding.mappings)
    return next((one for one in owners if None not in (one.mm, one.address)), None)


def put(data: bytes, where: Path) -> None:
    """Write a report to a file, whole, or to standard output."""
    if where == STDOUT:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    from zaptrace.model.paths import write_whole

    write_whole(where, data)
    _say(where)


def _say(path: Path) -> None:
    print(f"wrote {path}", file=sys.stderr)
