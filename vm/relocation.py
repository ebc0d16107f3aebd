"""Where a kernel lies in its guest, against where its vmlinux was linked.

KASLR moves it, and s390x's kernels since 6.10 lie elsewhere without KASLR too
("s390: Map kernel at fixed location when KASLR is disabled").  VMCOREINFO says
by how much, but not before much memory has been freed.  The CPUs know earlier:
their own table names the kernel's exception handlers, and the kernel fills it
in before its page allocator begins.  What is found so is believed only when
the kernel's banner stands where it then must stand.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from zaptrace.arch import Arch, VectorTable

Monitor = Callable[[str], Awaitable[str]]
"""Runs one command of QEMU's monitor for people; its answer."""

_PAGE = 4096
_WORD = re.compile(r"\b0x([0-9a-f]{16})\b")
_BYTE = re.compile(r"\b0x([0-9a-f]{2})\b")
_TABLE = re.compile(r"^IDT= *([0-9a-f]{16}) ", re.M)
_GATE_SIZE = 16


@dataclass(frozen=True, slots=True)
class Anchors:
    """What a kernel is found by.

    Attributes:
        vector: link-time address of the handler that the CPUs' table names.
        banner: link-time address of linux_banner.
        text: how the banner begins.
    """

    vector: int
    banner: int
    text: bytes


def anchors_of(plan: Mapping[str, int], release: str | None) -> Anchors | None:
    """Return the anchors of a probe plan; None when its vmlinux lacked one of them."""
    if release is None or not {"vector", "banner"} <= plan.keys():
        return None
    return Anchors(plan["vector"], plan["banner"], f"Linux version {release} ".encode())


async def offset(monitor: Monitor, arch: Arch, anchors: Anchors) -> int | None:
    """Return how far above its link-time addresses the kernel runs, modulo 2**64.

    None when the guest does not show it now: too early, or its CPU is in a process
    that does not map the kernel.
    """
    handler = await _handler(monitor, arch.vector_table)
    if handler is None:
        return None
    by = (handler - anchors.vector) % 2**64
    if by % _PAGE:
        return None
    said = await monitor(f"x /{len(anchors.text)}xb {(anchors.banner + by) % 2**64:#x}")
    found = bytes(int(byte, 16) for byte in _BYTE.findall(said))
    return by if found == anchors.text else None


async def _handler(monitor: Monitor, vector: VectorTable) -> int | None:
    """Return the address of the handler, out of the CPUs' own table."""
    if vector.lowcore is not None:  # a new PSW: mask and address
        words = await _words(monitor, f"xp /2gx {vector.lowcore:#x}")
        return words[1] if words else None
    table = _TABLE.search(await monitor("info registers"))
    if table is None:
        return None
    gate = int(table[1], 16) + _GATE_SIZE * vector.gate
    words = await _words(monitor, f"x /2gx {gate:#x}")
    if words is None:
        return None
    # Intel SDM volume 3, figure 6-8: the offset is in three pieces.
    low, high = words
    return low & 0xFFFF | low >> 32 & 0xFFFF0000 | (high & 0xFFFFFFFF) << 32


async def _words(monitor: Monitor, command: str) -> tuple[int, int] | None:
    found = _WORD.findall((await monitor(command)).partition(":")[2])
    return (int(found[0], 16), int(found[1], 16)) if len(found) == 2 else None
