"""Machine code: the length of each instruction and what it does to the flow of control."""

from __future__ import annotations

from collections.abc import Callable

from zaptrace.arch import Arch
from zaptrace.kernel.machinecode import s390x, x86_64
from zaptrace.kernel.machinecode.instruction import Instruction

Decoder = Callable[[bytes, int], Instruction | None]
"""Decodes the instruction at an index of some code; None when it is cut off or not known."""

_DECODERS: dict[str, Decoder] = {
    "s390x": s390x.instruction_at,
    "x86_64": x86_64.instruction_at,
}


def decoder_of(arch: Arch) -> Decoder:
    """Return the instruction decoder of an architecture."""
    return _DECODERS[arch.name]
