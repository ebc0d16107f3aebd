"""`zaptrace live` and `zaptrace record`: events of a kernel while it runs."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zaptrace.arch import NAMES
from zaptrace.cli.arguments import add_guest_arguments, one_line, seconds
from zaptrace.cli.show_events import add_printing_arguments, at_terminal, printed
from zaptrace.model.errors import BadInput, Exit

if TYPE_CHECKING:
    from probes.filters import Filters
    from zaptrace.cli.event_stream import Tally
    from zaptrace.model.source import Source

DESCRIPTION = """\
Put kprobes on zap_pte_range, rmap removal, bad_page and print_bad_pte, and
show what they see: in the TUI, or one line an event.  Needs root.

Events come through bcc where it is installed, else through tracefs.  The
probe sites come from the running kernel's vmlinux where it is installed, else
from BTF and kallsyms.  With --guest, a guest is booted and watched from
outside: with the lab's kernel, a stock one (--kernel), or one that is built
from a tree of yours (--kernel-tree): your checkout is only read, and the change
to its configuration is shown.

Without a terminal, as in `vng -- sudo zaptrace live`, lines are printed.
"""
EPILOG = """\
examples:
  sudo zaptrace live
  sudo zaptrace live --pid 4711 --anonymous --record munmap.zap
  sudo zaptrace live --no-tui --filter 'kind=rmap_remove mapcount>1' | head
  zaptrace live --guest s390x --fault batch
  zaptrace live --guest x86_64 --kernel 6.12 --no-tui --run 'ls /'
  zaptrace live --guest x86_64 --kernel-tree ~/linux

Filters thin out zaps and rmap removals inside the kernel; reports of bugs
always come.  Exit status is 1 when a bad_page or bad_pte was seen, 0 when not.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    add_source_arguments(parser)
    add_printing_arguments(parser)
    parser.add_argument("--record", type=Path, metavar="FILE", help="write a capture as well")
    _add_guest_arguments(parser)


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for where the events come from, and which."""
    parser.add_argument(
        "--vmlinux", type=Path, metavar="FILE", help="the running kernel's, with debug info"
    )
    parser.add_argument("--source", choices=("bcc", "tracefs"), help="default: the best that works")
    parser.add_argument(
        "--seconds", type=seconds, metavar="N", help="end after N seconds (not the TUI)"
    )
    wanted = parser.add_argument_group("filters")
    wanted.add_argument("--pid", type=int, action="append", default=[], help="this process only")
    wanted.add_argument("--comm", action="append", default=[], help="tasks of this name only")
    wanted.add_argument("--cgroup", type=Path, help="tasks below this cgroup v2 folder only")
    wanted.add_argument("--anonymous", action="store_true", help="anonymous pages only")
    wanted.add_argument("--large-only", action="store_true", help="pages of large folios only")


def _add_guest_arguments(parser: argparse.ArgumentParser) -> None:
    """Watching a guest from outside."""
    guest = parser.add_argument_group("a guest of ours instead of this machine")
    guest.add_argument("--guest", metavar="ARCH", help=f"boot one and watch it: {NAMES}")
    add_guest_arguments(guest)
    guest.add_argument(
        "--run",
        dest="inside",
        type=one_line,
        metavar="COMMAND",
        help="a shell command to run in it",
    )


def run(args: argparse.Namespace) -> Exit:
    """Run the command.

    Raises:
        ZaptraceError: no events can be had here, and why.
    """
    if args.guest is None and args.kernel_tree is not None:
        raise BadInput("--kernel-tree is for a guest", "--guest x86_64")
    if not (args.no_tui or args.json or at_terminal()):
        args.no_tui = True
        print("no terminal here: a line an event, as with --no-tui", file=sys.stderr)
    if args.seconds is not None and not printed(args):
        raise BadInput("--seconds is for printed lines: the TUI ends with q", "--no-tui")
    if args.guest is not None:
        tally = _guest(args)
    elif printed(args):
        tally = _printed(args)
    else:
        tally = _shown(args)
    return Exit.BUG_FOUND if tally.bugs else Exit.OK


def _printed(args: argparse.Namespace) -> Tally:
    from zaptrace.cli.show_events import drain, line_sink, recording
    from zaptrace.cli.stdout_pipe import abandoned

    sinks = [line_sink(args)]
    with recording(args.record) as writer:
        if writer is not None:
            sinks.append(writer.add)
        return drain(local_source(args), sinks, args.seconds, abandoned)


def _shown(args: argparse.Namespace) -> Tally:
    from zaptrace.cli.show_events import Recorded, check_terminal, recording, show

    check_terminal("live")
    with recording(args.record) as writer:
        source = Recorded(local_source(args), writer)
        show(source, "live")
    return source.tally()


def _guest(args: argparse.Namespace) -> Tally:
    from zaptrace.cli.arguments import wanted_tree
    from zaptrace.cli.output import progress
    from zaptrace.cli.show_events import Recorded, check_terminal, drain, line_sink, recording, show
    from zaptrace.cli.stdout_pipe import abandoned
    from zaptrace.runs.watched_guest import watched_guest

    lines = printed(args)
    if not lines:
        check_terminal("live")
    own = wanted_tree(args.guest, args, "live")
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(recording(args.record))
        with progress() as listener:  # its bars are gone before anything else is drawn
            wanted = watched_guest(
                args.guest,
                listener,
                fault=args.fault,
                kernel_name=args.kernel,
                own=own,
                smp=args.smp,
                read_only=args.read_only,
                options=_options(args),
                run=args.inside,
            )
            guest = stack.enter_context(wanted)
        if lines:
            sinks = [line_sink(args), *([writer.add] if writer else [])]
            return drain(guest.source, sinks, args.seconds, lambda: guest.finished() or abandoned())
        source = Recorded(guest.source, writer)
        show(source, f"live {args.guest}", guest.console)
    return source.tally()


def _options(args: argparse.Namespace) -> list[str]:
    """Return the arguments for `zaptrace record` in a guest that match those given here."""
    words = [word for pid in args.pid for word in ("--pid", str(pid))]
    words += [word for comm in args.comm for word in ("--comm", comm)]
    words += ["--cgroup", str(args.cgroup)] if args.cgroup else []
    words += ["--anonymous"] if args.anonymous else []
    words += ["--large-only"] if args.large_only else []
    return words + (["--source", args.source] if args.source else [])


def local_source(args: argparse.Namespace) -> Source:
    """Return a source of this machine's events, as the arguments want it."""
    from probes.open_source import check_root, open_source
    from zaptrace.cli.output import complain
    from zaptrace.kernel import kallsyms, page_checks, running_plan

    check_root()
    raw = kallsyms.read()
    if page_checks.running(raw).on is False:
        complain(f"{page_checks.OFF} To have them reported, {page_checks.FIX}.")
    symbols = kallsyms.Kallsyms(raw)
    return open_source(running_plan(args.vmlinux), _filters(args), args.source, symbols)


def _filters(args: argparse.Namespace) -> Filters:
    from probes.filters import Filters

    return Filters(tuple(args.pid), tuple(args.comm), args.cgroup, args.anonymous, args.large_only)
