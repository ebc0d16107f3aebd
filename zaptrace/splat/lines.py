"""A console's bytes -> clean lines: what the kernel said, when, and by which caller.

Knows nothing of splats.  It undoes what happens to kernel messages on their
way to a file: terminal escapes, CRLF, NULs, user-space output without a
newline, and the prefixes of printk, dmesg, syslog and journald.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 4096
"""Characters of a line that are looked at; printk's own limit is below 2048."""

_STAMP = r"\[ {0,11}[0-9]{1,12}\.[0-9]{6}\]"  # print_time() in kernel/printk/printk.c

# ECMA-48 control sequences, operating-system commands, and two-character escapes.
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]{0,64}+[ -/]{0,8}+[@-~]|\][^\x07\x1b\n]{0,256}+(?:\x07|\x1b\\)|[@-_])?"
)
_CONTROLS = dict.fromkeys(
    [code for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\r"]
)

# A kernel message can stand behind user-space output that did not end its line.
_PIECES = re.compile(rf"\r+|(?={_STAMP})")

_PREFIX = re.compile(
    rf"(?P<time>{_STAMP}) ?"
    r"|\[ {0,11}(?P<caller>[TC][0-9]{1,10})\] ?"  # CONFIG_PRINTK_CALLER: thread or CPU
    r"|<[0-9]{1,4}>"  # dmesg --raw, /dev/kmsg: facility and level
    r"|[a-z0-9]{2,8} *:(?:emerg|alert|crit|err|warn|notice|info|debug) *: ?"  # dmesg --decode
    r"|\[[A-Z][a-z]{2} [A-Za-z0-9: ]{6,24}\] ?"  # dmesg --ctime, --reltime
    r"|\[[A-Z][a-z]{2}[0-9]{1,2} [0-9:]{5}\] ?"
    r"|\[ *\+[0-9.]{1,18}\] ?"  # dmesg --show-delta
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.,+Z-]{8,28} "  # ISO 8601: dmesg, rsyslog, journalctl
    r"|(?:[A-Z][a-z]{2} [ 0-9][0-9] [0-9:.]{8,15} )?(?:[\w.-]{1,64} )?kernel: ",  # syslog
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its prefixes.

    Attributes:
        number: line of the file, from 1, as an editor counts.
        text: the message, no white space around it.
        time: seconds since boot as printed, or None.
        caller: printk's caller id (`T123` thread, `C0` CPU), or None.
        kernel: a prefix says that the kernel said it.
    """

    number: int
    text: str
    time: float | None
    caller: str | None
    kernel: bool


def read_lines(data: bytes) -> Iterator[Line]:
    """The lines of a console log that hold text, in order.  Never raises.

    The last word of a log that does not end with a line's end is left out: it may be the half of
    a number (a guest was ended, or is still speaking).
    """
    text = _without_torn_word(data.decode("utf-8", "replace"))
    if "\x1b" in text:
        text = _ESCAPE.sub("", text)
    text = text.translate(_CONTROLS)
    for number, whole in enumerate(text.split("\n"), 1):
        for piece in _PIECES.split(whole):
            if piece:
                line = _read_line(number, piece[:LONGEST].strip())
                if line.text:
                    yield line


def _without_torn_word(text: str) -> str:
    if not text or text[-1].isspace():
        return text
    before, *torn = text.rsplit(maxsplit=1)
    return before if torn else ""


def _read_line(number: int, piece: str) -> Line:
    time: float | None = None
    caller: str | None = None
    position = 0
    while found := _PREFIX.match(piece, position):
        position = found.end()
        if found["time"]:
            time = float(found["time"].strip("[] "))
        caller = found["caller"] or caller
    return Line(number, piece[position:].strip(), time, caller, position > 0)
