"""Kernel modules that are made up."""

from __future__ import annotations


def module(*depends: str) -> bytes:
    return b"\x7fELF..license=GPL\0depends=" + ",".join(depends).encode() + b"\0name=x\0"


DISKS = {
    "virtio_blk": module(),
    "virtio_console": module(),
    "ext4": module("mbcache", "jbd2"),
    "jbd2": module("crc16"),
    "mbcache": module(),
    "crc16": module(),
    "unrelated": module("ext4"),
}
