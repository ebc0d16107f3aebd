"""`zaptrace bisect`: from a good and a bad revision to the commit that brought the bug."""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from zaptrace.arch import NAMES
from zaptrace.cli.arguments import seconds, size, whole
from zaptrace.model.errors import CannotTell, Exit, ZaptraceError

if TYPE_CHECKING:
    from zaptrace.runs.bisect.drive import Trials
    from zaptrace.runs.bisect.trial import Guest, Outcome

STOP = 130
"""What ends a `git bisect run` and marks nothing: any status above 127 does."""
START_EXAMPLES = """\
examples:
  zaptrace bisect start --tree ~/linux --good v6.5 --bad HEAD
  zaptrace bisect start --tree ~/linux --good v6.5 --bad v6.6-rc1 \\
      --arch x86_64 --config ~/config-6.5 --append "debug" --repeat 10

What happens: the bad revision is built and booted to learn which bug it is
(the verdict's kind, and the function), then the good one, which must not have
it.  git bisect run does the rest in a linked work tree: your checkout, its
index and any bisect of your own are not touched.  A commit is

  bad      when it shows the same bug (same kind, same function)
  good     after --repeat clean boots
  skipped  when it does not build or boot, when its guest is lost, or when it
           shows another bug, which may hide this one

At the end the commit is reverted on the bad revision, where it reverts, and
that is built and booted too.  Interrupted (Ctrl-C, a power cut), the same
command continues where it was.

Exit status: 1 when the commit was found (so there is a bug), 125 when it was
not, 2 when the tree, the range or this machine cannot be used.
"""
STEP_EXAMPLES = """\
examples:
  git bisect start BAD GOOD
  git bisect run zaptrace bisect step --bug freed_before_rmap_removed
  git bisect run zaptrace bisect step --arch x86_64 --repeat 10 \\
      --bug pte_left_behind:zap_pte_range

The tree is built in the cache, outside of itself; its files are only read.

Exit status, as git bisect run takes it: 0 good, 1 bad, 125 skip (it does not
build or boot, the guest is lost, another bug than --bug), 130 stop, with
nothing marked (interrupted, or something is missing on this machine).
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose usage errors in a step do not make git mark a commit bad."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse unknown arguments here, not in the parser above."""
        known, rest = super().parse_known_args(args, namespace)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return known, rest

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        status = STOP if self.prog.endswith(" step") else Exit.USAGE
        self.exit(int(status), f"{self.prog}: error: {message}\n")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    parser.description = (
        "Find the commit that brought a bug into a kernel's git history: every commit that git "
        "bisect asks for is built (out of tree, incrementally) and booted in QEMU under zaptrace."
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=_Parser)
    start = actions.add_parser(
        "start",
        help="the whole bisect; the same command continues after an interruption",
        description="Find the first bad commit between two revisions.",
        epilog=START_EXAMPLES,
        formatter_class=parser.formatter_class,
    )
    start.add_argument(
        "--tree", type=Path, default=Path(), metavar="DIR", help="the kernel's git tree; default: ."
    )
    start.add_argument("--good", required=True, metavar="REV", help="a revision without the bug")
    start.add_argument("--bad", required=True, metavar="REV", help="a revision with it")
    _add_boot_arguments(start)
    start.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="try as many commits at once as a Dask cluster has workers (tcp://host:8786)",
    )
    start.add_argument("--json", action="store_true", help="print the result as JSON")
    start.set_defaults(action=_start)

    step = actions.add_parser(
        "step",
        help="one commit, for a `git bisect run` of your own",
        description="Build and boot what is checked out, and answer as git bisect run wants it.",
        epilog=STEP_EXAMPLES,
        formatter_class=parser.formatter_class,
    )
    step.add_argument(
        "--tree", type=Path, default=Path(), metavar="DIR", help="the kernel's tree; default: ."
    )
    _add_boot_arguments(step)
    step.add_argument(
        "--bug",
        metavar="KIND[:FUNCTION]",
        help="the verdict that makes a commit bad; default: any bug",
    )
    step.add_argument("--session", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    step.add_argument("--json", action="store_true", help="print the outcome as JSON")
    step.set_defaults(action=_step)


def _add_boot_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments for how every commit is built and booted."""
    add = parser.add_argument
    add("--arch", default="s390x", help=f"guest architecture: {NAMES}; default: %(default)s")
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="the configuration to start from; default: the tree's .config, else a small one",
    )
    add("--initrd", type=Path, metavar="CPIO", help="root file system; default: the lab's")
    add("--append", default="", metavar="ARGS", help="more kernel arguments")
    add("--memory", type=size, default="512M", metavar="SIZE", help="default: %(default)s")
    add("--smp", type=whole, default=2, metavar="N", help="CPUs; default: %(default)s")
    add(
        "--timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long a guest may run; default: %(default)g",
    )
    add(
        "--repeat",
        type=whole,
        default=3,
        metavar="N",
        help="clean boots that make a commit good; default: %(default)s",
    )


def run(args: argparse.Namespace) -> Exit:
    """Run the sub-command.

    Raises:
        ZaptraceError: what is missing or wrong.
        SystemExit: a step that must stop git bisect run.
    """
    outcome: Exit = args.action(args)
    return outcome


def _start(args: argparse.Namespace) -> Exit:
    from zaptrace.cli.output import complain, print_json, progress
    from zaptrace.runs.bisect.conclude import summary
    from zaptrace.runs.bisect.drive import Request, bisect

    request = Request(args.tree, args.good, args.bad, args.arch, args.config, _guest(args))
    try:
        trials = _elsewhere(args.scheduler) if args.scheduler else None
        with progress() as listener:
            found = bisect(request, listener, trials)
    except KeyboardInterrupt:
        complain("interrupted; the same command continues where this one was")
        return Exit.CANNOT_TELL
    if args.json:
        print_json(found)
    else:
        print(summary(found))
    return Exit.BUG_FOUND if found["guilty"] else Exit.CANNOT_TELL


def _elsewhere(scheduler: str) -> Trials:
    """Return what tries commits on a cluster."""
    from zaptrace.cli.clusters import note, on_cluster

    trials: Trials = on_cluster("zaptrace.runs.bisect.elsewhere").Elsewhere(scheduler, note)
    return trials


def _step(args: argparse.Namespace) -> Exit:
    """Answer git; whatever is no answer stops it."""
    from zaptrace.cli.output import complain, print_json

    try:
        outcome = _session_step(args) if args.session else _own_step(args)
    except CannotTell as error:
        complain(str(error), error.hint)
        return Exit.CANNOT_TELL
    except ZaptraceError as error:
        complain(str(error), error.hint)
    except KeyboardInterrupt:
        complain("interrupted: this commit is not marked")
    except Exception:  # noqa: BLE001  Python's own status for it, 1, would mark the commit bad
        traceback.print_exc()
    else:
        if args.json:
            print_json(outcome.to_json())
        elif not args.session:
            print(f"{outcome.mark.name.lower()}: {outcome.why}")
        return Exit(outcome.mark.value)
    raise SystemExit(STOP)


def _session_step(args: argparse.Namespace) -> Outcome:
    """Return a step that `zaptrace bisect start` made git take."""
    from zaptrace.runs.bisect.drive import one_step
    from zaptrace.runs.bisect.progress_pipe import writer

    return one_step(args.session, writer(sys.stdout))


def _own_step(args: argparse.Namespace) -> Outcome:
    """Return a step of the user's own git bisect run."""
    from vm import kernel_tree
    from zaptrace.arch import arch_named
    from zaptrace.cli.output import progress
    from zaptrace.model.paths import state_home
    from zaptrace.runs.bisect.seen_by import Wanted
    from zaptrace.runs.bisect.trial import try_tree
    from zaptrace.runs.signature import Signature

    arch, top = arch_named(args.arch), args.tree.resolve()
    kernel_tree.check(top, arch)
    bug = Wanted(Signature.parse(args.bug)) if args.bug else None
    config = kernel_tree.config_of(top, args.config)
    folder = state_home() / "bisects" / "steps" / kernel_tree.objects_folder(top, arch).name
    with progress() as listener:
        source = kernel_tree.checkout(top, arch, config, listener)
        return try_tree(source, _guest(args), bug, folder, listener)


def _guest(args: argparse.Namespace) -> Guest:
    from zaptrace.runs.bisect.trial import Guest

    return Guest(
        initrd=args.initrd.resolve() if args.initrd else None,
        append=args.append,
        memory=args.memory,
        smp=args.smp,
        timeout=args.timeout,
        boots=args.repeat,
    )
