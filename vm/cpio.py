"""A writer of cpio archives in the "newc" format, which the kernel unpacks as initramfs.

The format is that of Documentation/driver-api/early-userspace/buffer-format.rst
in the kernel tree.  The same entries always give the same bytes: no times, no
owners but root, inode numbers counted from 1.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field


@dataclass(slots=True)
class Archive:
    """An archive being put together; every path is absolute in the guest."""

    _parts: list[bytes] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)
    _inode: int = 0

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory, and those above it; what is there already stays."""
        name = path.strip("/")
        if not name or name in self._seen:
            return
        self._parents(name)
        self._add(name, stat.S_IFDIR | mode, b"")

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._entry(path, stat.S_IFREG | mode, data)

    def symlink(self, path: str, target: str) -> None:
        """Add a symbolic link to `target`."""
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device node."""
        self._entry(path, stat.S_IFCHR | mode, b"", major, minor)

    def finish(self) -> bytes:
        """Return the archive's bytes, trailer and all."""
        return b"".join(self._parts) + _record("TRAILER!!!", 0, 0, b"")

    def _entry(self, path: str, mode: int, data: bytes, major: int = 0, minor: int = 0) -> None:
        name = path.strip("/")
        self._parents(name)
        self._add(name, mode, data, major, minor)

    def _parents(self, name: str) -> None:
        head, _, _ = name.rpartition("/")
        if head:
            self.directory(head)

    def _add(self, name: str, mode: int, data: bytes, major: int = 0, minor: int = 0) -> None:
        if name in self._seen:
            raise ValueError(f"{name} is in the archive already")
        self._seen.add(name)
        self._inode += 1
        self._parts.append(_record(name, self._inode, mode, data, major, minor))


def _record(name: str, inode: int, mode: int, data: bytes, major: int = 0, minor: int = 0) -> bytes:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    numbers = (inode, mode, 0, 0, links, 0, len(data), 0, 0, major, minor, len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % number for number in numbers)
    return _padded(header + encoded) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
