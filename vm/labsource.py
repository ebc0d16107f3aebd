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
from vm.series import DEFAULT, series_named, series_of
from zaptrace.model.paths import cache_home, locked
from zaptrace.model.progress import Listener, step

FOLDERS = ("arch/s390", "arch/x86", "fs", "include", "init", "kernel", "lib", "mm")
"""What a lab kernel's zaps, frees and reports can be in, and what our patches touch."""


def lab_source(vmlinux: Path, listener: Listener) -> Path | None:
    """Return the source tree of a lab kernel, unpacked now if need be (half a minute).

    None when `vmlinux` is no lab kernel's, or its source package is not in the cache.

    Raises:
        Missing: dpkg-deb, tar or patch is not installed.
        CannotTell: the package cannot be unpacked, or a patch does not apply.
    """
    deb = _package(vmlinux)
    return _kept(deb, FOLDERS, listener) if deb else None


def whole_source(listener: Listener) -> Path:
    """Return the source tree that lab kernels are built of, drivers and all.

    Raises:
        Missing: no source package is available, or no dpkg-deb, tar or patch.
        CannotTell: it cannot be fetched or unpacked, or a patch does not apply.
    """
    row = series_named(DEFAULT)
    return _kept(debian.fetch(row.package, row.suite, debian.host_arch()), (), listener)


def _kept(deb: Path, folders: tuple[str, ...], listener: Listener) -> Path:
    """Return a package's source tree, patched: these folders of it, or all; unpacked when it is
    new."""
    series = series_of(deb.name)
    patches = series.patches() if series else []
    parts = [deb.name.encode(), " ".join(folders).encode(), *(one.read_bytes() for one in patches)]
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
    trees = cache_home() / "source"
    tree = trees / f"{deb.name.removesuffix('_all.deb')}-{key}"
    if tree.exists():
        return tree
    with locked(trees / ".lock"):
        if not tree.exists():
            with step("unpack", "Unpack the lab kernel's source, once", listener):
                _unpack(deb, folders, patches, tree)
    return tree


def _package(vmlinux: Path) -> Path | None:
    """Return the source package of a lab kernel in the cache."""
    if not vmlinux.resolve().is_relative_to((cache_home() / "kernels").resolve()):
        return None
    try:
        facts = json.loads((vmlinux.parent / "kernel.json").read_text())
        name = str(facts["source"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if series_of(name) is None:
        return None
    return next(iter(sorted((cache_home() / "debs").glob(f"*/{name}"))), None)


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
