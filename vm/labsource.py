"""The lab kernels' source, unpacked from its Debian package, patched, and kept in the cache.

For reports that show a lab kernel's lines: what a zap runs through, not the drivers.  All of it
for who builds another configuration of it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from vm import debian, host
from vm.lab_kernel import FLAVOURS, Kernel
from vm.series import DEFAULT, series_named, series_of
from zaptrace.model.paths import cache_home, locked
from zaptrace.model.progress import Listener, step

FOLDERS = ("arch/s390", "arch/x86", "fs", "include", "init", "kernel", "lib", "mm")
"""What a lab kernel's zaps, frees and reports can be in, and what our patches touch."""


def lab_source(vmlinux: Path, listener: Listener) -> Path | None:
    """Return a lab kernel's source: what lies beside it, or unpacked if need be (half a minute).

    None when `vmlinux` is no lab kernel's, or its source package is not in the cache.

    Raises:
        Missing: dpkg-deb, tar or patch is not installed.
        CannotTell: the package cannot be unpacked, or a patch does not apply.
    """
    if kept := kept_source(vmlinux):
        return kept
    found = _package(vmlinux)
    return _unpacked(*found, FOLDERS, listener) if found else None


def kept_source(vmlinux: Path) -> Path | None:
    """Return what a lab kernel's lines can be read from at no cost; None when there is nothing.

    The files that were compiled lie beside the kernel; those of one that an older zaptrace
    built may have been unpacked for a report.
    """
    beside = Kernel(vmlinux.parent).source
    if _is_lab_kernel(vmlinux) and beside.is_dir():
        return beside
    found = _package(vmlinux)
    tree = _tree_of(*found, FOLDERS)[0] if found else None
    return tree if tree and tree.is_dir() else None


def whole_source(listener: Listener) -> Path:
    """Return the source tree that lab kernels are built of, drivers and all.

    Raises:
        Missing: no source package is available, or no dpkg-deb, tar or patch.
        CannotTell: it cannot be fetched or unpacked, or a patch does not apply.
    """
    row = series_named(DEFAULT)
    return _unpacked(debian.fetch(row.package, row.suite, debian.host_arch()), None, (), listener)


def _tree_of(deb: Path, flavour: str | None, folders: tuple[str, ...]) -> tuple[Path, list[Path]]:
    """Return where a package's source tree is, or would be unpacked to, and a flavour's patches."""
    series = series_of(deb.name)
    patches = series.patches(flavour) if series else []
    parts = [deb.name.encode(), " ".join(folders).encode(), *(one.read_bytes() for one in patches)]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    return cache_home() / "source" / f"{deb.name.removesuffix('_all.deb')}-{key}", patches


def _unpacked(deb: Path, flavour: str | None, folders: tuple[str, ...], listener: Listener) -> Path:
    """Return a package's source tree, patched: these folders or all; unpack it when it is new."""
    tree, patches = _tree_of(deb, flavour, folders)
    if tree.exists():
        return tree
    with locked(tree.parent / ".lock"):
        if not tree.exists():
            with step("unpack", "Unpack the lab kernel's source, once", listener):
                _unpack(deb, folders, patches, tree)
    return tree


def _is_lab_kernel(vmlinux: Path) -> bool:
    return vmlinux.resolve().is_relative_to((cache_home() / "kernels").resolve())


def _package(vmlinux: Path) -> tuple[Path, str | None] | None:
    """Return the source package of a lab kernel in the cache, and the kernel's flavour."""
    if not _is_lab_kernel(vmlinux):
        return None
    try:
        facts = json.loads((vmlinux.parent / "kernel.json").read_text())
        name, flavour = str(facts["source"]), str(facts.get("flavour"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if series_of(name) is None:
        return None
    debs = sorted((cache_home() / "debs").glob(f"*/{name}"))
    return (debs[0], flavour if flavour in FLAVOURS else None) if debs else None


def _unpack(deb: Path, folders: tuple[str, ...], patches: list[Path], tree: Path) -> None:
    work = tree.parent / f".unpacking-{tree.name}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "linux").mkdir(parents=True)
    try:
        host.output("dpkg-deb", "--extract", str(deb), str(work / "package"))
        (archive,) = (work / "package").glob("usr/src/linux-source-*.tar.xz")
        top = archive.name.removesuffix(".tar.xz")
        wanted = [f"{top}/{folder}" for folder in folders]
        into = str(work / "linux")
        host.output("tar", "-xf", str(archive), "--strip-components=1", "-C", into, *wanted)
        for patch in patches:
            host.output("patch", "-p1", "--batch", "--directory", into, "--input", str(patch))
        (work / "linux").rename(tree)
    finally:
        shutil.rmtree(work, ignore_errors=True)
