"""Mails as they were sent: long lines are cut and marked by `=`, and some characters are numbers.

An mbox, or a mail that was saved whole, holds parts in this encoding (RFC 2045) and others.
"""

from __future__ import annotations

import re

# What begins or ends a part in this encoding: a part's header, its end, the next mail of an mbox.
_TURNS = re.compile(
    rb"^Content-Transfer-Encoding:[ \t]*(?P<encoding>[\w-]{1,32})|^--[^\s]{4,80}\r?$"
    rb"|^From \S{1,200} ",
    re.MULTILINE | re.IGNORECASE,
)
_BROKEN = re.compile(rb"^(?:[^\n]*=\r?\n)+[^\n]*\n?", re.MULTILINE)
_SOFT = re.compile(rb"=\r?\n")
_NUMBER = re.compile(rb"=([0-9A-F]{2})")


class QuotedPrintable:
    """Undoes the encoding of blocks that end where lines do; the lines keep their numbers."""

    def __init__(self) -> None:
        self._is_on = False

    def undone(self, block: bytes) -> bytes:
        """Return a block as it was written."""
        if not self._is_on and b"Content-" not in block:
            return block
        parts: list[bytes] = []
        start = 0
        for turn in _TURNS.finditer(block):
            parts.append(self._part(block[start : turn.start()]))
            start = turn.start()
            self._is_on = (turn["encoding"] or b"").lower() == b"quoted-printable"
        parts.append(self._part(block[start:]))
        return b"".join(parts)

    def _part(self, text: bytes) -> bytes:
        if not self._is_on or b"=" not in text:
            return text
        return _NUMBER.sub(_character, _BROKEN.sub(_joined, text))


def _joined(found: re.Match[bytes]) -> bytes:
    """Return a line of its pieces, and an empty one for each that is gone."""
    whole, breaks = _SOFT.subn(b"", found[0])
    return whole + b"\n" * breaks if whole.endswith(b"\n") else whole


def _character(found: re.Match[bytes]) -> bytes:
    code = int(found[1], 16)
    return b" " if code < 0x20 else bytes([code])
