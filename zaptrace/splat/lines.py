"""A console's bytes -> clean lines: what was said, when, and by which caller of printk.

Knows nothing of splats: it takes off the prefixes that are known beforehand
(`zaptrace.splat.prefixes` learns the others from a report).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zaptrace.splat.prefixes import strip_known
from zaptrace.splat.text import pieces
from zaptrace.splat.windows import whole_lines


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
    """The lines of a console log that hold text, in order.  Never raises."""
    number = 0
    for block in whole_lines([data]):
        for whole in block.decode("utf-8", "replace").split("\n"):
            number += 1
            for piece in pieces(whole):
                known = strip_known(piece)
                if text := piece[known.end :].strip():
                    yield Line(number, text, known.time, known.caller, known.end > 0)
        number -= block.endswith(b"\n")
