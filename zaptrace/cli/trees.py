"""A kernel tree of the user's on the command line: what is changed for it is shown first."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zaptrace.model.errors import BadInput

if TYPE_CHECKING:
    from vm.kernel_tree import Tree


def add_tree_arguments(parser: argparse._ActionsContainer) -> None:
    """What tree, and its configuration."""
    parser.add_argument(
        "--kernel-tree", type=Path, metavar="DIR", help="a kernel's git checkout, to be built"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="its configuration; default: DIR/.config"
    )


def wanted_tree(arch: str, args: argparse.Namespace, flavour: str = "repro") -> Tree | None:
    """The tree that was asked for, ready to be built; what changes in its configuration is said.

    Args:
        flavour: what its kernel is for, `repro` or `live`.

    Raises:
        ZaptraceError: it is no tree that can be built.
    """
    from zaptrace.cli.output import progress
    from zaptrace.runs import owntree

    if args.kernel_tree is None:
        if args.config is not None:
            raise BadInput("--config is for a tree that is to be built", "--kernel-tree DIR")
        return None
    with progress() as listener:
        source, changes = owntree.prepare(arch, args.kernel_tree, args.config, listener, flavour)
    for line in changes:
        print(f"          {line}", file=sys.stderr)
    return source
