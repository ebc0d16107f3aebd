"""Pages of gitweb, of which the text was taken: each hexadecimal word was a link, a line each."""

from __future__ import annotations

import re

_SIGN = b"mapping:\n"  # ends no line of the kernel's, and each page's dump has it
_WORD = rb"[0-9a-f]{8,40}\b(?!:)"
_BROKEN = re.compile(
    rb"^(?!" + _WORD + rb")[^\n]*(?:\n" + _WORD + rb"[^\n]*)+\n?",
    re.MULTILINE,
)
_BREAK = re.compile(rb"(?P<blank>(?<=[0-9a-z])|(?<=raw:))?\n(?=" + _WORD + rb")")


def undone(block: bytes) -> bytes:
    """Return a block of whole lines with such words in the lines where they stood; the lines keep
    their numbers."""
    return _BROKEN.sub(_joined, block) if _SIGN in block else block


def _joined(found: re.Match[bytes]) -> bytes:
    whole, breaks = _BREAK.subn(_glue, found[0])
    return whole + b"\n" * breaks if whole.endswith(b"\n") else whole


def _glue(found: re.Match[bytes]) -> bytes:
    return b" " if found["blank"] is not None else b""
