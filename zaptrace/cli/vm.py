"""`zaptrace vm`: lab kernels, dumps of running guests, and what they leave on disk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zaptrace.arch import NAMES
from zaptrace.cli.arguments import add_guest_arguments, one_line
from zaptrace.model.errors import Exit

if TYPE_CHECKING:
    Actions = argparse._SubParsersAction["_Parser"]

BOOT_EXAMPLES = """\
examples:
  zaptrace vm boot s390x
  zaptrace vm boot x86_64 --kernel 6.12 -- 'zaptrace doctor; dmesg | tail'
  zaptrace vm boot s390x --fault batch --json -- dmesg | jq -r .stdout
"""
SHELL_EXAMPLES = """\
examples:
  zaptrace vm shell x86_64
  zaptrace vm shell s390x --fault leak     then, inside: zaptrace live
"""


class _Parser(argparse.ArgumentParser):
    """Takes what stands after `--` for `boot`'s command.

    argparse gives up on a list of words that comes after an option, when the
    word before that option could have been the list's beginning.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """See ArgumentParser."""
        words = list(args or ())
        if "--" not in words or not self.prog.endswith(" boot"):
            return super().parse_known_args(args, namespace)
        cut = words.index("--")
        known, rest = super().parse_known_args(words[:cut], namespace)
        try:
            known.command += [one_line(word) for word in words[cut + 1 :]]
        except argparse.ArgumentTypeError as error:
            self.error(f"argument COMMAND: {error}")
        return known, rest


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    parser.description = "Build lab kernels, dump running guests, list and remove what is kept."
    actions = parser.add_subparsers(metavar="ACTION", required=True, parser_class=_Parser)

    kernel = actions.add_parser(
        "kernel",
        help="build a lab kernel, fetch a stock one",
        description="Build the kernels that guests boot, or fetch Debian's; they are kept in the "
        "cache until `zaptrace vm clean --cache`.",
        epilog="examples:\n  zaptrace vm kernel build s390x\n"
        "  zaptrace vm kernel fetch 13 x86_64 --debug",
        formatter_class=parser.formatter_class,
    )
    verbs = kernel.add_subparsers(metavar="VERB", required=True)
    build = verbs.add_parser(
        "build",
        help="build it, or find it in the cache",
        description="Build a lab kernel: Debian's linux-source-* with zaptrace's patches "
        "and configuration: one kernel for repro boots and live guests.  It "
        "is kept in the cache and built again only when its source, patches, configuration "
        "or compiler change.",
        epilog="examples:\n  zaptrace vm kernel build s390x\n"
        "  zaptrace vm kernel build x86_64 --flavour virtme\n"
        "  zaptrace vm kernel build s390x --series 6.12",
        formatter_class=parser.formatter_class,
    )
    build.add_argument("arch", help=f"guest architecture: {NAMES}")
    build.add_argument(
        "--flavour",
        help="live (BPF, disks, every kind of mapping), repro (small, for boots only), zoo (what "
        "bugs of tests/zoo need besides) or virtme (x86_64: for virtme-ng); default: live of 6.1, "
        "repro of other series",
    )
    build.add_argument(
        "--series",
        default="6.1",
        help="the kernel series to build: 6.1, 6.12 or 7.3; %(default)s by default",
    )
    build.add_argument("--json", action="store_true", help="print the files as JSON")
    build.set_defaults(action=_kernel_build)
    _configure_fetch(verbs, parser)

    _configure_guests(actions, parser)

    dump = actions.add_parser(
        "dump",
        help="write a proper vmcore of a running guest",
        description="Dump a QEMU guest through its monitor, or take a dump that QEMU has "
        "written, and make it a vmcore that plain `drgn -c VMCORE -s VMLINUX` opens.  The "
        "guest is paused meanwhile and resumed afterwards.",
        epilog="example:\n  qemu-system-s390x ... -qmp unix:qmp.sock,server=on,wait=off\n"
        "  zaptrace vm dump qmp.sock vmcore",
        formatter_class=parser.formatter_class,
    )
    dump.add_argument("source", type=Path, help="a QMP unix socket, or a dump written by QEMU")
    dump.add_argument("vmcore", type=Path, help="the file to write; must not exist yet")
    dump.add_argument("--json", action="store_true", help="print the outcome as JSON")
    dump.set_defaults(action=_dump)

    ls = actions.add_parser(
        "ls",
        help="list kernels, saved guests and runs",
        description="List the kernels and the saved guests in the cache and the runs in the "
        "state folder, oldest first, each with its size on disk and a run with its verdict.  "
        "A saved guest is what `vm shell`, `vm boot` and `live --guest` restore instead of "
        "booting.",
        epilog="example:\n  zaptrace vm ls --json | jq -r '.runs[-1].path'",
        formatter_class=parser.formatter_class,
    )
    ls.add_argument("--json", action="store_true", help="print them as JSON")
    ls.set_defaults(action=_ls)

    clean = actions.add_parser(
        "clean",
        help="remove runs, or the caches too",
        description="Remove every run in the state folder.  Runs made with --run DIR stay.  "
        "With --cache, also kernels, saved guests, packages and plans.",
        epilog="examples:\n  zaptrace vm clean             the runs\n"
        "  zaptrace vm clean --cache     the caches too: they are made again",
        formatter_class=parser.formatter_class,
    )
    clean.add_argument("--cache", action="store_true", help="kernels, packages and plans too")
    clean.add_argument("--json", action="store_true", help="print what was freed as JSON")
    clean.set_defaults(action=_clean)


def _configure_fetch(verbs: Actions, above: argparse.ArgumentParser) -> None:
    """Add the arguments of `kernel fetch`."""
    fetch = verbs.add_parser(
        "fetch",
        help="fetch a stock kernel of Debian's",
        description="Fetch the newest kernel of a Debian release from the mirror that this "
        "machine's apt uses (cloud flavour on x86_64), and keep what a guest needs of it: "
        "image, configuration, modules for its disks.",
        epilog="examples:\n  zaptrace vm kernel fetch 13 s390x\n"
        "  zaptrace vm kernel fetch 13-backports x86_64 --version 7.3 --debug",
        formatter_class=above.formatter_class,
    )
    fetch.add_argument("suite", metavar="SUITE", help="12, 13 or 13-backports, or the codename")
    fetch.add_argument("arch", metavar="ARCH", help=f"guest architecture: {NAMES}")
    fetch.add_argument("--version", default="", help="the start of its release (6.12.107)")
    fetch.add_argument("--debug", action="store_true", help="also vmlinux with debug symbols")
    fetch.add_argument("--json", action="store_true", help="print the files as JSON")
    fetch.set_defaults(action=_kernel_fetch)


def _configure_guests(actions: Actions, above: argparse.ArgumentParser) -> None:
    """Add the arguments of `boot` and `shell`."""
    from zaptrace.cli import vm_guests

    boot = actions.add_parser(
        "boot",
        help="run a command in a live guest",
        description="Start a live guest (Debian 13 with bcc and this checkout of zaptrace), run "
        "a command in it as root, and end it.  The first one of its kind is booted and saved; "
        "from then on it is restored in about a second.  Exit status is 0 when the command "
        "succeeds, else 1.",
        epilog=BOOT_EXAMPLES,
        formatter_class=above.formatter_class,
    )
    boot.add_argument("arch", help=f"guest architecture: {NAMES}")
    boot.add_argument(
        "command", nargs="*", type=one_line, metavar="COMMAND", help="default: uname -a"
    )
    boot.set_defaults(action=vm_guests.boot)
    shell = actions.add_parser(
        "shell",
        help="a shell in a live guest",
        description="Start a live guest (Debian 13 with bcc and this checkout of zaptrace) and "
        "give it this terminal.  The first one of its kind is booted and saved; from then on it "
        "is restored in about a second.  Ctrl-] leaves; what was written in the guest is gone "
        "then.",
        epilog=SHELL_EXAMPLES,
        formatter_class=above.formatter_class,
    )
    shell.add_argument("arch", help=f"guest architecture: {NAMES}")
    shell.set_defaults(action=vm_guests.shell)
    for parser in (boot, shell):
        add_guest_arguments(parser)
    boot.add_argument("--json", action="store_true", help="print what it printed as JSON")


def run(args: argparse.Namespace) -> Exit:
    """Run the sub-command."""
    outcome: Exit = args.action(args)
    return outcome


def _kernel_build(args: argparse.Namespace) -> Exit:
    from vm import lab_kernel
    from zaptrace.arch import arch_named
    from zaptrace.cli.output import print_json, progress

    with progress() as listener:
        arch = arch_named(args.arch)
        built = lab_kernel.build(arch, listener, flavour=args.flavour, series=args.series)
    if args.json:
        print_json({"image": str(built.image), "vmlinux": str(built.vmlinux)})
    else:
        print(built.image, built.vmlinux, sep="\n")
    return Exit.OK


def _kernel_fetch(args: argparse.Namespace) -> Exit:
    from vm import stock
    from zaptrace.arch import arch_named
    from zaptrace.cli.output import print_json, progress

    with progress() as listener:
        arch = arch_named(args.arch)
        kernel = stock.fetch(args.suite, arch, listener, args.version, debug=args.debug)
    vmlinux = str(kernel.vmlinux) if kernel.vmlinux.exists() else None
    if args.json:
        paths = {"folder": str(kernel.folder), "image": str(kernel.image), "vmlinux": vmlinux}
        print_json({"release": kernel.release, **paths})
    else:
        print(f"{kernel.release}: {kernel.folder}")
        print(f"boot it: zaptrace vm boot --kernel {kernel.release} {arch.name} -- COMMAND")
    return Exit.OK


def _dump(args: argparse.Namespace) -> Exit:
    from zaptrace.cli.output import print_json
    from zaptrace.runs.write_vmcore import write_vmcore

    write_vmcore(args.source, args.vmcore)
    size = args.vmcore.stat().st_size
    if args.json:
        print_json({"vmcore": str(args.vmcore), "bytes": size})
    else:
        print(f"{args.vmcore}: {size:,} bytes; open it with: drgn -c {args.vmcore} -s VMLINUX")
    return Exit.OK


def _ls(args: argparse.Namespace) -> Exit:
    from zaptrace.cli.output import print_json
    from zaptrace.runs import disk_usage

    kernels, snapshots, runs = disk_usage.kernels(), disk_usage.snapshots(), disk_usage.runs()
    if args.json:
        print_json({"kernels": kernels, "snapshots": snapshots, "runs": runs})
        return Exit.OK
    for entry in kernels:
        print(f"kernel    {_mib(entry['bytes'])}  {entry['path']}")
    for entry in snapshots:
        print(f"snapshot  {_mib(entry['bytes'])}  {entry['path']}  {entry['arch']}")
    for entry in runs:
        print(f"run       {_mib(entry['bytes'])}  {entry['path']}  {entry['verdict'] or '-'}")
    if not kernels and not snapshots and not runs:
        print("no kernel and no run is kept; make one: zaptrace repro s390x")
    return Exit.OK


def _clean(args: argparse.Namespace) -> Exit:
    from zaptrace.cli.output import print_json
    from zaptrace.runs import disk_usage

    freed = disk_usage.clean(caches=args.cache)
    if args.json:
        print_json({"bytes": freed})
    else:
        print(f"{_mib(freed).strip()} freed")
    return Exit.OK


def _mib(size: int) -> str:
    return f"{size / 2**20:8,.1f} MiB"
