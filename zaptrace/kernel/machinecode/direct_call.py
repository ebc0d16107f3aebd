"""Where a direct call goes, by the bytes before the address that it returns to."""

from __future__ import annotations

from collections.abc import Callable

from zaptrace.arch import Arch

LONGEST_CALL = 6
"""Bytes of the longest direct call: s390x's BRASL."""


def call_target(arch: Arch, code: bytes, returns_to: int) -> int | None:
    """Return where the call goes that ends where some code ends; None where that is no direct call.

    Args:
        code: the LONGEST_CALL bytes before the return address.
        returns_to: that address.
    """
    away = _DISTANCES[arch.name](code) if len(code) == LONGEST_CALL else None
    return None if away is None else (returns_to + away) % 2**64


def _s390x(code: bytes) -> int | None:
    """BRASL and BRAS count halfwords from their own first byte."""
    if code[0] == 0xC0 and code[1] & 0xF == 0x5:
        return 2 * int.from_bytes(code[2:], "big", signed=True) - 6
    if code[2] == 0xA7 and code[3] & 0xF == 0x5:
        return 2 * int.from_bytes(code[4:], "big", signed=True) - 4
    return None


def _x86_64(code: bytes) -> int | None:
    """CALL rel32 counts bytes from its end."""
    return int.from_bytes(code[2:], "little", signed=True) if code[1] == 0xE8 else None


_DISTANCES: dict[str, Callable[[bytes], int | None]] = {"s390x": _s390x, "x86_64": _x86_64}
