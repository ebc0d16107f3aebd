"""`zaptrace repro`: boot a kernel in QEMU, stop it at the bug, explain the bug."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from zaptrace.arch import NAMES, arch_named
from zaptrace.cli.arguments import add_tree_arguments, seconds, size, wanted_tree, whole
from zaptrace.cli.show_events import at_terminal
from zaptrace.model.errors import BadInput, CannotTell, Exit
from zaptrace.model.lab_faults import FAULTS
from zaptrace.model.verdict import VerdictKind

if TYPE_CHECKING:
    from zaptrace.model.progress import Listener
    from zaptrace.report.ci import Case
    from zaptrace.runs.explain_run import Result
    from zaptrace.runs.repro import Request

EXAMPLES = """\
examples:
  zaptrace repro s390x                 the founding bug, on the lab kernel
  zaptrace repro s390x --fault none    the same boot of a healthy kernel
  zaptrace repro s390x --fault leak,rss-large --stop-at exit
                                       two other faults, each with a victim
  zaptrace repro s390x --kernel arch/s390/boot/bzImage --vmlinux vmlinux \\
                 --initrd rootfs.cpio --memory 512M --append "debug"
                                       your own kernel and root file system
  zaptrace repro s390x --kernel-tree ~/linux
                                       build that tree as it is, and boot it
  zaptrace repro s390x --repeat 50 --jobs 4 --junit boots.xml
                                       how often does the bug occur?
  zaptrace repro s390x --repeat 50 --jobs 4 --from user-space
                                       the same, the kernel booted once

The lab kernel is Debian's linux-source-6.1 with zaptrace's patches; it is built
at the first use (minutes) and kept.  Your own kernel needs CONFIG_KPROBE_EVENTS
and CONFIG_BOOTTIME_TRACING for events, CONFIG_DEBUG_INFO_DWARF* for everything,
and CONFIG_CRASH_DUMP for the audit.

--kernel-tree builds out of the tree, in the cache, and again only what changed;
your checkout is only read.  Its .config (or --config FILE) gets what zaptrace
needs, and the difference is shown; with neither, a small configuration is used.

--repeat stops early once the bug has occurred and the 95% interval (Wilson) of
its hit rate is narrower than 20 points; with clean boots alone it makes all N.
Each boot has a run folder of its own; the dumps of clean ones are not kept.

Exit status is 1 when a bug was found, 0 for the verdict "clean"; with --expect,
0 when the verdict is the expected one and 1 when it is another.  A guest that
hangs, oopses or panics is dumped and explained, too: 125 is only for a guest
that leaves no evidence of a bug.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Boot a kernel in QEMU with probes from its first instruction on, stop the guest at the "
        "very instant of the bug, dump its memory, audit every page table against every "
        "counter, and say which page was freed by whom, in which order, at which line."
    )
    parser.epilog = f"{EXAMPLES}\n{_faults()}"
    parser.add_argument("arch", help=f"guest architecture: {NAMES}")
    lab = parser.add_argument_group("the lab kernel")
    lab.add_argument(
        "--fault",
        metavar="NAME[,NAME]",
        help="the faults to turn on; default: batch, the founding bug; all names are below",
    )
    own = parser.add_argument_group("your own kernel")
    own.add_argument("--kernel", type=Path, metavar="IMAGE", help="a bootable image (bzImage)")
    own.add_argument("--vmlinux", type=Path, help="the same build's ELF file, with DWARF")
    own.add_argument(
        "--initrd", type=Path, metavar="CPIO", help="root file system: cpio, plain or compressed"
    )
    add_tree_arguments(own)
    own.add_argument("--append", default="", metavar="ARGS", help="more kernel arguments")
    guest = parser.add_argument_group("the guest")
    guest.add_argument(
        "--memory", type=size, default="512M", metavar="SIZE", help="default: %(default)s"
    )
    guest.add_argument(
        "--smp", type=whole, default=2, metavar="N", help="CPUs; default: %(default)s"
    )
    guest.add_argument(
        "--cpu",
        default="",
        metavar="MODEL",
        help="CPU model and features, as QEMU's -cpu takes them (max has 1 GB pages); default: "
        "QEMU's own",
    )
    guest.add_argument(
        "--timeout",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long the guest may run; default: %(default)g",
    )
    guest.add_argument(
        "--stop-at",
        choices=("bad_page", "bad_table", "panic", "exit", "never"),
        default="bad_page",
        help="where to stop and dump it: the first instruction of bad_page (the default); "
        "bad_table: also of pmd_clear_bad and the like, before a bad entry of a page table is "
        "cleared; a panic; the guest's own end; never: let it run, take no dump",
    )
    guest.add_argument(
        "--kaslr",
        action="store_true",
        help="leave KASLR on: the kernel lies elsewhere at each boot, and is found there; "
        "default: nokaslr",
    )
    evidence = parser.add_argument_group("the evidence")
    evidence.add_argument(
        "--no-life",
        action="store_true",
        help="do not record every store to the struct pages (a QEMU plugin; emulated guests only)",
    )
    evidence.add_argument(
        "--keep-life",
        action="store_true",
        help="keep the lives of all pages, not only of the suspects (see zaptrace life)",
    )
    evidence.add_argument("--no-probes", action="store_true", help="boot without kprobes")
    often = parser.add_argument_group("flaky bugs")
    often.add_argument(
        "--repeat", type=whole, default=None, metavar="N", help="boot up to N times (no TUI)"
    )
    often.add_argument(
        "--jobs", type=whole, default=1, metavar="J", help="guests at once; default: %(default)s"
    )
    often.add_argument(
        "--from",
        dest="origin",
        choices=("power-on", "user-space"),
        default="power-on",
        help="where each try begins: at power-on (the default), or from a guest that was saved "
        "before its first program, with a seed and a delay of its own",
    )
    often.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="share the boots out to the workers of a Dask cluster (tcp://host:8786)",
    )
    result = parser.add_argument_group("the result")
    result.add_argument(
        "--run", dest="folder", type=Path, metavar="DIR", help="where to leave the run folder"
    )
    result.add_argument(
        "--expect",
        choices=[kind.value for kind in VerdictKind],
        metavar="VERDICT",
        help="exit with 0 only when this is the verdict",
    )
    result.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML for a CI")
    result.add_argument("--ktap", type=Path, metavar="FILE", help="write KTAP for a kernel CI")
    result.add_argument("--no-tui", action="store_true", help="a line for each step, no TUI")
    result.add_argument("--json", action="store_true", help="print the verdict as JSON (no TUI)")


def _faults() -> str:
    """Return what --fault takes."""
    return "\n".join(["faults:", *(f"  {name:<16} {what}" for name, what in FAULTS.items()), ""])


def run(args: argparse.Namespace) -> Exit:
    """Run the command.

    Raises:
        ZaptraceError: a step could not be done, and why.
    """
    arch_named(args.arch)  # a mistyped one is refused before half a second of imports

    from zaptrace.runs.repro import Request

    request = Request(
        arch=args.arch,
        fault=args.fault,
        kernel=args.kernel,
        vmlinux=args.vmlinux,
        initrd=args.initrd,
        append=args.append,
        memory=args.memory,
        smp=args.smp,
        cpu=args.cpu,
        timeout=args.timeout,
        stop_at=args.stop_at,
        kaslr=args.kaslr,
        no_probes=args.no_probes,
        no_life=args.no_life,
        keep_life=args.keep_life,
        folder=args.folder,
    )
    request = _built(request, args)
    if args.repeat is None and (args.scheduler is not None or args.origin != "power-on"):
        raise BadInput("--scheduler and --from are for many boots", "--repeat N")
    if args.scheduler is not None and args.origin != "power-on":
        raise BadInput("boots that are shared out begin at power-on", "--jobs J instead")
    if args.repeat is not None:
        from zaptrace.cli.repro_repeat import many

        return many(request, args)
    return _once(request, args)


def _built(request: Request, args: argparse.Namespace) -> Request:
    """Return the same for the user's tree, built now, where one is given."""
    from zaptrace.cli.output import progress
    from zaptrace.runs import own_tree

    if args.kernel_tree is not None:
        own_tree.check(request)
    source = wanted_tree(request.arch, args)
    if source is None:
        return request
    with progress() as listener:
        return own_tree.build(request, source, args.kernel_tree, args.config, listener)


def _once(request: Request, args: argparse.Namespace) -> Exit:
    """Boot once, and print what came of it."""
    from zaptrace.cli.output import complain, print_json, print_total
    from zaptrace.cli.repro_repeat import write_cases
    from zaptrace.report.ci import Case

    plain = args.json or args.no_tui or not at_terminal()
    try:
        result = _run_with_lines(request) if plain else _run_with_tui(request)
    except CannotTell as error:
        write_cases(args, [Case("boot_1", 0.0, error=str(error))])
        raise
    if result is None:
        complain("left before there was a verdict; what was recorded so far stays readable")
        return Exit.CANNOT_TELL
    print_total(result.document["timing"])
    write_cases(args, [_case(result, args.expect)])
    code = exit_code(result, args.expect)
    if code is Exit.CANNOT_TELL:
        complain(f"cannot tell: {result.verdict.summary}")
    if args.json:
        print_json(result.document)
    else:
        print(result.report)
    return code


def _run_with_lines(request: Request) -> Result:
    """Do it with a line or a bar for each step."""
    from zaptrace.cli.output import progress
    from zaptrace.runs.repro import repro

    with progress() as listener:
        return repro(request, listener)


def _run_with_tui(request: Request) -> Result | None:
    """Do it in the TUI; None when the user has left before its end."""
    from tui.app import ZapApp
    from tui.background_job import Outcome
    from zaptrace.capture.reader import read
    from zaptrace.capture.replay import Replay
    from zaptrace.cli.shown_life import lives_of
    from zaptrace.runs.folder import RunFolder
    from zaptrace.runs.repro import repro

    folder = RunFolder.create(request.arch, request.folder)
    request = dataclasses.replace(request, folder=folder.path)
    results: list[Result] = []

    def work(listener: Listener) -> Outcome:
        result = repro(request, listener)
        results.append(result)
        source = Replay(read(folder.capture)) if folder.capture.is_file() else None
        lives = lives_of(folder)
        return Outcome(result.verdict, result.report, source, folder.audit(), lives)

    def console() -> str:
        return folder.console.read_text(errors="replace") if folder.console.exists() else ""

    app = ZapApp(None, title=f"repro {request.arch}", console=console, work=work)
    app.run()
    if app.failure is not None:
        raise app.failure
    return results[0] if results else None


def _case(result: Result, expected: str | None) -> Case:
    """Return a boot as a test case."""
    from zaptrace.report.ci import Case

    seconds, verdict = sum(result.document["timing"].values()), result.verdict
    code = exit_code(result, expected)
    if code is Exit.OK:
        return Case("boot_1", seconds)
    if code is Exit.CANNOT_TELL:
        return Case("boot_1", seconds, error=verdict.summary)
    return Case(
        "boot_1", seconds, verdict.kind.value, message=verdict.summary, details=result.report
    )


def exit_code(result: Result, expected: str | None) -> Exit:
    """Return what a run's verdict means for a caller.

    Args:
        expected: the verdict kind that counts as success; None for `clean`.
    """
    kind = result.verdict.kind
    if expected is not None:
        return Exit.OK if kind.value == expected else Exit.BUG_FOUND
    if kind is VerdictKind.UNEXPLAINED and not result.suspicious:
        return Exit.CANNOT_TELL
    return Exit.OK if kind is VerdictKind.CLEAN else Exit.BUG_FOUND
