"""Mails as they were sent: in quoted-printable or base64 (RFC 2045).

An mbox, or a mail that was saved whole, holds parts in these encodings and others.
"""

from __future__ import annotations

import base64
import binascii
import re

# What begins or ends an encoded part: a part's header, its end, the next mail of an mbox.
_TURNS = re.compile(
    rb"^Content-Transfer-Encoding:[ \t]*(?P<encoding>[\w-]{1,32})|^--[^\s]{4,80}\r?$"
    rb"|^From \S{1,200} ",
    re.MULTILINE | re.IGNORECASE,
)
_BROKEN = re.compile(rb"^(?:[^\n]*=\r?\n)+[^\n]*\n?", re.MULTILINE)
_SOFT = re.compile(rb"=\r?\n")
_NUMBER = re.compile(rb"=C2=A0|(?<!=[0-9A-F]{2})=A0|=([0-9A-F]{2})")
"""A byte; a no-break space (in UTF-8, in Latin-1) is a blank."""
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{1,1000}={0,2}\r?$")
_GONE = b"\x1f\n"
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a]")
GONE = "\x1f"
"""Stands for a line that is part of the one before it, so that lines keep their numbers: blank to
str.strip()."""
_LONGEST = 1 << 12
"""Bytes of a line that is still to end."""


class MailEncodings:
    """Undoes the encodings of blocks that end where lines do; the lines keep their numbers."""

    def __init__(self) -> None:
        self._encoding = b""
        self._rest = b""  # of a base64 part: a line that has not ended, with what is no whole byte

    def undone(self, block: bytes) -> bytes:
        """Return a block as it was written."""
        if not self._encoding and b"Content-" not in block:
            return block
        parts: list[bytes] = []
        start = 0
        for turn in _TURNS.finditer(block):
            parts += (self._part(block[start : turn.start()]), self._end())
            start = turn.start()
            encoding = (turn["encoding"] or b"").lower()
            self._encoding = encoding if encoding in (b"quoted-printable", b"base64") else b""
        parts.append(self._part(block[start:]))
        return b"".join(parts)

    def _part(self, text: bytes) -> bytes:
        if self._encoding == b"base64":
            lines, end, last = text.rpartition(b"\n")
            whole = b"\n".join(map(self._line, lines.split(b"\n"))) if end else b""
            return whole + end + (self._line(last) if last else b"")
        if not self._encoding or b"=" not in text:
            return text
        return _NUMBER.sub(_character, _BROKEN.sub(_joined, text))

    def _line(self, line: bytes) -> bytes:
        """Return the lines that end in one of base64, a carriage return between; as it is if it is
        none."""
        if not _BASE64.match(line):
            return self._end() or line
        try:
            text = base64.b64decode(line.strip() + b"==")
        except (binascii.Error, ValueError):
            return line
        if _BINARY.search(text):  # an image, a compressed file
            return line
        text = (self._rest + text).replace(b"\r", b"").replace(b"\xc2\xa0", b" ")
        whole, _, rest = text.rpartition(b"\n")
        if len(rest) > _LONGEST:
            whole, rest = rest, b""
        self._rest = rest
        return whole.replace(b"\n", b"\r")

    def _end(self) -> bytes:
        """Return the last line of a part, of which no end came."""
        rest, self._rest = self._rest, b""
        return rest


def _joined(found: re.Match[bytes]) -> bytes:
    """Return a line of its pieces, and GONE for each other one."""
    whole, breaks = _SOFT.subn(b"", found[0])
    return whole + _GONE * breaks if whole.endswith(b"\n") else whole


def _character(found: re.Match[bytes]) -> bytes:
    code = int(found[1] or b"20", 16)
    return b" " if code < 0x20 else bytes([code])
