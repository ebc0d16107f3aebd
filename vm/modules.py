"""Kernel modules out of a package: which are needed, and in which order they go in."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from zaptrace.model.errors import CannotTell

FOLDERS = (
    # Of a package's modules, those that may be needed to reach a disk; the rest stays packed.
    *("arch/[^/]+/crypto", "crypto", "lib(?:/crc)?", "fs/ext4", "fs/jbd2", "fs"),
    *("drivers/virtio", "drivers/block", "drivers/char", "drivers/s390/virtio"),
    *("fs/9p", "fs/netfs", "fs/fscache", "net/9p"),
)
MODULE = re.compile(rf"/kernel/(?:{'|'.join(FOLDERS)})/[^/]+\.ko(?:\.xz)?$")
"""Paths of modules that are worth unpacking."""
REQUIRED = ("virtio_blk", "virtio_console", "ext4")
OPTIONAL = ("virtio_pci", "crc32c_generic", "9pnet_virtio", "9p")
"""crc32c: ext4 asks modprobe for it by an alias (a softdep), and an initramfs has no modprobe."""
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


def name_of(path: str) -> str:
    """Return a module's name as the kernel knows it, from its file's name."""
    return PurePosixPath(path).name.partition(".")[0].replace("-", "_")


def unpacked(path: str, data: bytes) -> bytes:
    """Return a module's file as insmod takes it, whatever busybox can decompress."""
    return lzma.decompress(data) if path.endswith(".xz") else data


def in_order(modules: Mapping[str, bytes], builtin: Iterable[str]) -> list[str]:
    """Return the names of those that a guest needs for its disks and ports, dependencies first.

    Args:
        modules: name -> its file, decompressed.
        builtin: names of those that the kernel has inside.

    Raises:
        CannotTell: one that is needed is nowhere.
    """
    inside = frozenset(builtin)
    order: list[str] = []

    def add(name: str) -> None:
        if name in inside or name in order:
            return
        if name not in modules:
            raise CannotTell(f"the kernel's package has no module {name} among those for disks")
        found = _DEPENDS.search(modules[name])
        for needed in (found[1].decode() if found else "").split(","):
            if needed:
                add(needed.replace("-", "_"))
        order.append(name)

    for name in OPTIONAL:
        if name in modules:
            add(name)
    for name in REQUIRED:
        add(name)
    return order
