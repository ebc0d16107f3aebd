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


LONGEST_CALL = 6
"""Bytes of the longest direct call: s390x's BRASL."""
_CALLS: dict[str, Callable[[bytes], int | None]] = {
    module.__name__.rpartition(".")[2]: module.called_from_end for module in (s390x, x86_64)
}
"""Of an architecture without one no call's target is known."""


def call_target(arch: Arch, code: bytes, returns_to: int) -> int | None:
    """Return where the call goes that ends where some code ends; None where that is no direct call.

    Args:
        code: the LONGEST_CALL bytes before the return address.
        returns_to: that address.
    """
    away = _CALLS[arch.name](code) if arch.name in _CALLS and len(code) == LONGEST_CALL else None
    return None if away is None else (returns_to + away) % 2**64


def decoder_of(arch: Arch) -> Decoder:
    """Return the instruction decoder of an architecture."""
    return _DECODERS[arch.name]
