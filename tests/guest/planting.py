"""Faults that are planted in what drgn reads of a dump."""

from __future__ import annotations

import drgn


def physical(prog: drgn.Program, at: int) -> int:
    """A word of physical memory."""
    return int(prog.read_u64(at, physical=True))


def overwrite(prog: drgn.Program, at: int, value: int) -> None:
    """Have a word of physical memory be another."""
    little = prog.platform.flags & drgn.PlatformFlags.IS_LITTLE_ENDIAN
    data = value.to_bytes(8, "little" if little else "big")
    prog.add_memory_segment(
        at, 8, lambda _at, count, offset, _physical: data[offset : offset + count], True
    )
