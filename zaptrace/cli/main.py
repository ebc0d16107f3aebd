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

COMMANDS = (
    *("live", "record", "replay", "repro", "bisect", "explain", "life", "report"),
    *("inspect", "probes", "splat", "doctor", "vm"),
)
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
        argv: the arguments to come.  When they begin with a command's name, only that
            command's module is imported; None imports all of them.
    """
    wanted = argv[0] if argv and argv[0] in COMMANDS else None
    parser = argparse.ArgumentParser(
        prog="zaptrace",
        description="Who freed my mapped page?  Catches the moment at which a page's counters "
        "and the page tables of a Linux kernel stop agreeing, proves it in memory, and names "
        "the line of source that did it.",
        epilog=EPILOG,
        formatter_class=ManPage,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        if wanted not in (None, name):
            commands.add_parser(name)
            continue
        module = importlib.import_module(f"zaptrace.cli.{name}")
        command = commands.add_parser(name, help=module.HELP, formatter_class=ManPage)
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
