"""A request for a kernel tree of the user's: built, it is a request like any other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from vm import tree
from vm.arch import arch_named
from vm.tree import Tree
from zaptrace.model.errors import BadInput
from zaptrace.model.progress import Listener, step
from zaptrace.runs.repro import Request


def prepare(
    request: Request, folder: Path, config: Path | None, listener: Listener
) -> tuple[Tree, list[str]]:
    """A tree that can be built, and what is to be changed in its configuration.

    Args:
        folder: the tree, a git checkout; it is only read.
        config: the configuration to start from; None for the tree's own, or a small one.

    Raises:
        BadInput: it is not such a tree, or the request names another kernel.
        Missing: no compiler.
        CannotTell: it does not configure.
    """
    if request.kernel is not None or request.vmlinux is not None:
        raise BadInput("--kernel-tree builds its own kernel: leave out --kernel and --vmlinux")
    if request.fault is not None:
        raise BadInput("--fault is for the lab kernel only: yours brings its own", "--append ...")
    arch = arch_named(request.arch)
    tree.check(folder, arch)
    source = tree.checkout(folder, arch, tree.config_of(folder, config), listener)
    with step("config", "Merge what is needed into the configuration", listener) as current:
        changes = tree.config_changes(source)
        current.note = f"{len(changes)} lines changed"
    return source, changes


def build(request: Request, source: Tree, listener: Listener) -> Request:
    """The request for the tree's kernel, built now.

    Raises:
        CannotTell: it does not build.
    """
    built = tree.build(source, listener)
    return dataclasses.replace(request, kernel=built.image, vmlinux=built.vmlinux)
