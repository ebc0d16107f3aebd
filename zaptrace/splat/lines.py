"""A console's bytes -> clean lines: what was said, when, and by which caller of printk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from zaptrace.splat.headlines import headline
from zaptrace.splat.log_text import pieces
from zaptrace.splat.prefixes import Prefix, learn, strip_known
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


def read_lines(data: bytes, of_report: int | None = None) -> Iterator[Line]:
    """Yield the lines of a console log that hold text, in order. Never raises.

    Args:
        data: the log.
        of_report: the line that a report begins on: what stands before it is no part of the
            others, either.
    """
    prefix = _prefix(data, of_report) if of_report else None
    for number, piece in _pieces(data):
        known = strip_known(piece)
        body = prefix.body(piece) if prefix else None
        if text := body[0] if body else piece[known.end :].strip():
            yield Line(number, text, known.time, known.caller, known.end > 0)


def _prefix(data: bytes, of_report: int) -> Prefix | None:
    for number, piece in _pieces(data):
        if number == of_report and (begins := headline(piece)):
            return learn(begins.before)
        if number > of_report:
            break
    return None


def _pieces(data: bytes) -> Iterator[tuple[int, str]]:
    number = 0
    for block in whole_lines([data]):
        for whole in block.decode("utf-8", "replace").split("\n"):
            number += 1
            for piece in pieces(whole):
                yield number, piece
        number -= block.endswith(b"\n")
