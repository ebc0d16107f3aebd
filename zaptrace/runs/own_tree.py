"""A kernel tree of the user's, built for repro boots or for live guests."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from vm import kernel_tree
from vm.kernel_tree import Tree
from zaptrace.arch import arch_named
from zaptrace.model.errors import BadInput
from zaptrace.model.progress import Listener, step
from zaptrace.runs.repro import Request


def check(request: Request) -> None:
    """Check that a request can be one for a tree's kernel.

    Raises:
        BadInput: it names another kernel.
    """
    if request.kernel is not None or request.vmlinux is not None:
        raise BadInput("--kernel-tree builds its own kernel: leave out --kernel and --vmlinux")
    if request.fault is not None:
        raise BadInput("--fault is for the lab kernel only: yours brings its own", "--append ...")


def prepare(
    arch_name: str, folder: Path, config: Path | None, listener: Listener, flavour: str = "repro"
) -> tuple[Tree, list[str]]:
    """Return a tree that can be built, and what is to be changed in its configuration.

    Args:
        folder: the tree, a git checkout; it is only read.
        config: the configuration to start from; None for the tree's own, or a small one.
        flavour: what its kernel is for, `repro` or `live`.

    Raises:
        BadInput: it is not such a tree.
        Missing: no compiler.
        CannotTell: it does not configure.
    """
    arch = arch_named(arch_name)
    kernel_tree.check(folder, arch)
    source = kernel_tree.checkout(
        folder, arch, kernel_tree.config_of(folder, config), listener, flavour
    )
    if source.config is None:
        with step("config", "Take the lab kernels' small configuration", listener) as current:
            current.note = f"{folder} has no .config"
        return source, []
    with step("config", "Merge what is needed into the configuration", listener) as current:
        changes = kernel_tree.config_changes(source)
        current.note = f"{len(changes)} lines changed"
    return source, changes


def build(
    request: Request, source: Tree, folder: Path, config: Path | None, listener: Listener
) -> Request:
    """Return the request for the tree's kernel, built now.

    Args:
        folder, config: the tree and the configuration as they were named.

    Raises:
        CannotTell: it does not build.
    """
    spent: dict[str, float] = {}
    built = kernel_tree.build(source, listener, spent)
    return dataclasses.replace(
        request,
        kernel=built.image,
        vmlinux=built.vmlinux,
        kernel_tree=folder,
        config=config,
        spent=spent,
    )
