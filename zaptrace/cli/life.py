"""`zaptrace life`: every store to one page's struct page, with the code that did it."""

from __future__ import annotations

import argparse
from pathlib import Path

from zaptrace.model.errors import BadInput, Exit

EPILOG = """\
examples:
  zaptrace life                        the newest run, the page of its verdict
  zaptrace life --counters             only its counters and PTEs
  zaptrace life RUN 0x5da --stack      a page of a run, with every caller
  zaptrace life RUN --list             the pages whose lives the run has kept
  zaptrace life --since boot --json | jq '.writes[].role'
  zaptrace life RUN 0x5da --perfetto page.pftrace

A repro boot of an emulated guest records every store to every struct page,
and keeps the suspects' (those of all pages with --keep-life).  A store is shown
with what it changed, before and after, and with the line that did it; functions
that are inlined count as callers.  `mapped` and `unmapped` are _mapcount up and
down, `got` and `put` _refcount; `PTE set` and `PTE cleared` are stores to
page-table entries that map the page.  The first page of a large folio has the
folio's PMDs and _entire_mapcount as well.  Numbers are as the kernel stores
them: a _mapcount of -1 is no mapping.

The lines with * are what is left over when each get is paired with its put and
each rmap with its removal, by call and kind.  Where one of several stores is
the one too many, all of them are named.

--perfetto writes the same for ui.perfetto.dev: the counters as steps, a slice
for each allocation and each PTE that mapped the page, and an instant for each
store, with its line and its stack.  Times are since the recording began.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Print a page's life: what every store to its struct page changed, by which line of the "
        "kernel's source, called by whom; since its last allocation, or since the boot."
    )
    parser.epilog = EPILOG
    parser.add_argument(
        "folder", nargs="?", metavar="RUN", help="a run folder; default: the newest"
    )
    parser.add_argument(
        "pfn", nargs="?", metavar="PFN", help="the page; default: the one of the run's verdict"
    )
    parser.add_argument(
        "--since",
        choices=("alloc", "boot"),
        default="alloc",
        help="where to begin: the last allocation (the default) or the boot",
    )
    parser.add_argument(
        "--stack",
        action="store_true",
        help="all callers of each store, and stores that changed nothing",
    )
    parser.add_argument(
        "--counters",
        action="store_true",
        help="only what changes _mapcount, _refcount or a PTE that maps the page",
    )
    parser.add_argument("--newest-first", action="store_true", help="the last store first")
    parser.add_argument("--list", action="store_true", help="list the pages that were kept")
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print one JSON document")
    forms.add_argument(
        "--perfetto",
        type=Path,
        metavar="FILE",
        help="write a trace for ui.perfetto.dev; - is standard output",
    )


def run(args: argparse.Namespace) -> Exit:
    """Run the command.

    Raises:
        BadInput: the run has no pages' lives, or not this page's.
    """
    from zaptrace.cli.output import print_json
    from zaptrace.report.life import life_json, life_text
    from zaptrace.runs.folder import RunFolder
    from zaptrace.runs.run_life import open_life

    folder, pfn = _wanted(args)
    lives = open_life(RunFolder.open(folder))
    if args.list:
        return _list(lives.life.pfns, args.json)
    if pfn is None:
        pfn = lives.suspect()
    if pfn is None:
        raise BadInput(
            f"{lives.folder.path}: there is no suspect: name a page", "zaptrace life RUN PFN"
        )
    named = lives.page(pfn, since_boot=args.since == "boot")
    if args.perfetto is not None:
        from zaptrace.cli.report import put
        from zaptrace.report.life_perfetto import life_trace

        put(life_trace(named, lives.life.fields), args.perfetto)
        return Exit.OK
    account = lives.ledger(named) if args.since == "alloc" else None
    if args.json:
        run = str(lives.folder.path)
        print_json(life_json(named, run, lives.complete, lives.unseen, account))
    else:
        text = life_text(
            named,
            lives.life,
            lives.complete,
            lives.unseen,
            account,
            stacks=args.stack,
            newest_first=args.newest_first,
            counters=args.counters,
        )
        print(text, end="")
    return Exit.OK


def _wanted(args: argparse.Namespace) -> tuple[Path | None, int | None]:
    """Return the folder and the page; a number alone is a page of the newest run."""
    if args.folder is not None and args.pfn is None and not Path(args.folder).exists():
        number = _number(args.folder)
        if number is not None:
            return None, number
    pfn = None
    if args.pfn is not None:
        pfn = _number(args.pfn)
        if pfn is None:
            raise BadInput(f"{args.pfn!r} is not a page frame number like 0x5da or 1498")
    return Path(args.folder) if args.folder is not None else None, pfn


def _number(text: str) -> int | None:
    try:
        number = int(text, 0)
    except ValueError:
        return None
    return number if 0 <= number < 2**52 else None


def _list(pfns: tuple[int, ...] | None, as_json: bool) -> Exit:
    """Return the pages that were kept."""
    from zaptrace.cli.output import print_json

    if as_json:
        print_json({"pages": None if pfns is None else list(pfns)})
    elif pfns is None:
        print("every page")
    else:
        print("\n".join(f"{pfn:#x}" for pfn in pfns) or "none")
    return Exit.OK
