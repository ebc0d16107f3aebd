"""`zaptrace`: finds the command, runs it, prints its errors, sets the exit code."""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import traceback
from collections.abc import Sequence

from zaptrace.cli.stdout_pipe import ignore_broken_stdout
from zaptrace.model.errors import Exit, ZaptraceError

COMMANDS = {
    "live": "watch this kernel, or a guest's, take mappings apart",
    "record": "record this kernel's events into a capture",
    "replay": "watch a recording again: a capture, a run, or the founding bug",
    "repro": "boot a kernel in QEMU, stop it at the bug, and explain the bug",
    "bisect": "find the commit that brought the bug, by booting one after another",
    "explain": "explain a run or a console log: which page, freed by whom, at which line",
    "life": "the life of a page: every store to its struct page, with line and stack",
    "report": "a run as a mail, a web page, JSON, Parquet or a Perfetto trace",
    "inspect": "audit a vmcore: page tables against every page's counters",
    "probes": "show a kernel's probe sites and where each argument lies",
    "splat": "find the kernel's reports about pages in console logs",
    "doctor": "show what works on this machine, and how to fix the rest",
    "vm": "lab kernels, dumps of running guests, and what they leave on disk",
}
"""Command -> what it does.  `zaptrace.cli.COMMAND` has the rest of it."""
EPILOG = """\
exit status:
  0    done, and nothing wrong was found
  1    a bug was found: a bad page, a divergence
  2    usage or environment; the message says what is missing and how to fix it
  125  cannot tell: the build or the boot failed (git bisect run's "skip")

Every command but vm shell has --json: one document on stdout (live and replay:
one document a line), everything else on stderr.
"""


class ManPage(argparse.HelpFormatter):
    """Help whose prose is filled to the screen and whose examples stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


def build_parser(argv: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command line; each command's module adds its own arguments.

    Args:
        argv: the arguments to come: only the module of the command that they begin with is
            imported; None imports all of them.
    """
    parser = argparse.ArgumentParser(
        prog="zaptrace",
        description="Who freed my mapped page?  Catches the moment at which a page's counters "
        "and the page tables of a Linux kernel stop agreeing, proves it in memory, and names "
        "the line of source that did it.",
        epilog=EPILOG,
        formatter_class=ManPage,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, said in COMMANDS.items():
        command = commands.add_parser(name, help=said, formatter_class=ManPage)
        if argv is None or name in argv[:1]:
            module = importlib.import_module(f"zaptrace.cli.{name}")
            module.configure(command)
            command.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    _interrupts_unwind()
    try:
        argv = sys.argv[1:] if argv is None else argv
        args = build_parser(argv).parse_args(argv)
        return int(args.run(args))
    except ZaptraceError as error:
        _complain(str(error), error.hint)
        return int(error.exit_code)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        _complain(f"{error.strerror or error}{where}")
        return int(Exit.USAGE)
    except KeyboardInterrupt:
        _complain("interrupted; what was recorded so far stays readable")
        return int(Exit.CANNOT_TELL)


def _complain(message: str, hint: str | None = None) -> None:
    """Say an error; what draws is imported now, for an emulated guest takes a second for it."""
    from zaptrace.cli.output import complain

    complain(message, hint)


def _interrupts_unwind() -> None:
    """Make a polite end (timeout, systemd, CI) unwind like Ctrl-C, so that guests are ended too."""
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _interrupt)
    sys.unraisablehook = _swallowed


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _swallowed(unraisable: sys.UnraisableHookArgs) -> None:
    """Swallow an exception in a C library's callback: an interrupt comes again later."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
    else:
        sys.__unraisablehook__(unraisable)


def entry() -> None:
    """Run as the console script."""
    ignore_broken_stdout()
    try:
        code = main()
    except Exception:  # noqa: BLE001  Python's own status for it, 1, would mean "a bug was found"
        traceback.print_exc()
        code = int(Exit.CANNOT_TELL)
    # All is said and done.  Python gives these back to the kernel's default on its way
    # out, unless they are ignored: an exit code is not to be lost to a late Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


if __name__ == "__main__":
    entry()
