"""Types of arguments, and the arguments that several commands take."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zaptrace.model.errors import BadInput

if TYPE_CHECKING:
    from vm.kernel_tree import Tree

_SIZE = re.compile(r"\d{1,9}[KMGT]?", re.ASCII | re.IGNORECASE)


def whole(text: str) -> int:
    """Return a whole number above 0.

    Raises:
        ArgumentTypeError: the text is something else.
    """
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def one_line(text: str) -> str:
    """Return a command for a guest's shell.

    Raises:
        ArgumentTypeError: it has several lines, which would be several commands to the guest.
    """
    if "\n" in text:
        raise argparse.ArgumentTypeError("a command for a guest is one line: join its lines with ;")
    return text


def seconds(text: str) -> float:
    """Return a time in seconds, above 0.

    Raises:
        ArgumentTypeError: the text is something else.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not number > 0:  # nor is "nan"
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def size(text: str) -> str:
    """Return an amount of memory as QEMU's `-m` takes it, in MiB without a unit ("512M").

    Raises:
        ArgumentTypeError: the text is something else.
    """
    if not _SIZE.fullmatch(text) or not text.strip("KMGTkmgt0"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size like 512M or 2G")
    return text


def add_tree_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the options for a kernel tree and its configuration."""
    parser.add_argument(
        "--kernel-tree", type=Path, metavar="DIR", help="a kernel's git checkout, to be built"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="its configuration; default: DIR/.config"
    )


def add_guest_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the options for a guest: its kernel, its fault, its CPUs."""
    parser.add_argument(
        "--kernel",
        metavar="NAME",
        help="a stock kernel from `zaptrace vm kernel fetch`: the start of its release, or "
        "its folder; default: the lab kernel",
    )
    add_tree_arguments(parser)
    parser.add_argument("--fault", default="none", help="its zapfault=; default: %(default)s")
    parser.add_argument(
        "--smp", type=whole, default=2, metavar="N", help="CPUs; default: %(default)s"
    )
    parser.add_argument(
        "--read-only", action="store_true", help="for a kernel that cannot write to its disks"
    )


def wanted_tree(arch: str, args: argparse.Namespace, flavour: str = "repro") -> Tree | None:
    """Return the requested tree, ready to be built; what changes in its configuration is
    said.

    Args:
        flavour: what its kernel is for, `repro` or `live`.

    Raises:
        ZaptraceError: it is no tree that can be built.
    """
    from zaptrace.cli.output import progress
    from zaptrace.runs import own_tree

    if args.kernel_tree is None:
        if args.config is not None:
            raise BadInput("--config is for a tree that is to be built", "--kernel-tree DIR")
        return None
    with progress() as listener:
        source, changes = own_tree.prepare(arch, args.kernel_tree, args.config, listener, flavour)
    for line in changes:
        print(f"          {line}", file=sys.stderr)
    return source
