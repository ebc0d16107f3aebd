"""Faults that are planted in what drgn reads of a dump."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

import drgn

from zaptrace.audit.audited import audit
from zaptrace.model.findings import Finding

Plant = Callable[[drgn.Program], tuple[int, str, int]]
"""Where a number lies, its struct format, and what is added to it."""


class Opened(Protocol):
    """A dump that can be opened as often as one likes."""

    def opened(self) -> drgn.Program: ...


def physical(prog: drgn.Program, at: int) -> int:
    """A word of physical memory."""
    return int(prog.read_u64(at, physical=True))


def overwrite(prog: drgn.Program, at: int, value: int, *, physical: bool = True) -> None:
    """Have a word of physical memory, or of the kernel's virtual one, be another."""
    little = prog.platform.flags & drgn.PlatformFlags.IS_LITTLE_ENDIAN
    data = value.to_bytes(8, "little" if little else "big")
    prog.add_memory_segment(
        at, 8, lambda _at, count, offset, _physical: data[offset : offset + count], physical
    )


def planted(held: Opened, plant: Plant) -> tuple[Finding, ...]:
    """What is found in the dump with a number changed."""
    prog = held.opened()
    address, kind, more = plant(prog)
    order = "<" if prog.platform.flags & drgn.PlatformFlags.IS_LITTLE_ENDIAN else ">"
    size = struct.calcsize(kind)
    value = struct.unpack(order + kind, prog.read(address, size))[0] + more
    data = struct.pack(order + kind, value)
    prog.add_memory_segment(
        address, size, lambda at, count, offset, physical: data[offset : offset + count]
    )
    return audit(prog).findings


def compound_link(page: drgn.Object) -> drgn.Object:
    """`compound_head` of a page, under the name that it has in this kernel."""
    names = ("compound_head", "compound_info")
    return next(page.member_(name) for name in names if page[0].type_.has_member(name))
