"""A log's blocks -> the lines that matter, found in bulk.

Nearly all of a log holds no report.  Its blocks are searched for marks that every headline has;
lines are cut, decoded and read only from a little before a mark until no report is under way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from zaptrace.splat.linked_words import undone
from zaptrace.splat.log_text import utf8
from zaptrace.splat.mail_encodings import MailEncodings

BLOCK = 1 << 20
"""Bytes that are searched at once."""
BEFORE = 8 << 10
"""Bytes before a mark that are read too: a dump can precede its headline."""
LONGEST = 1 << 16
"""Bytes of a line that are looked at."""

_MARKS = (
    b"BUG:",
    b"ernel BUG at",
    b"WARNING:",
    b"Bad page",
    b"Bad pte",
    b"bad p",
    b"d swap",
    b"Corrupted page",
    b"Unable to handle",
    b"panic - not",
    b"general protection",
    b": 0000 [#1]",  # of traps that have no headline
    b"bad_page",  # of reports of which it is lost
    b"print_bad_p",
    b"Eeek! page",
    b"dumped because",
    b'"MESSAGE":[',  # journalctl -o json, of what is not plain ASCII
    b'"MESSAGE": [',
    b'"MESSAGE" : [',
)

# Programs write some of these words, too: what must stand around them.
_WORTH = {
    b"BUG:": re.compile(rb"(?<![A-Z_a-ln-z])BUG:"),  # a colour ends with m
    b"bad p": re.compile(rb"bad p(?:md|ud|te|gd|4d)\b"),
    b"d swap": re.compile(rb"(?:(?<=Ba)|(?<=Unuse))d swap"),
}
_WARNING = re.compile(rb"WARNING:(?: CPU: [0-9]| at |\s*\n| [^\s:]{1,200}:[0-9]{1,7} )")
_KERNEL = re.compile(
    rb"kernel|\[ *[0-9]{1,12}\.[0-9]{6}\]|<[0-9]{1,4}>|:warn|,-|[A-Z] *: *$|\[[TC ]"
)


def _is_worth(text: bytes, mark: bytes, place: int) -> bool:
    """Return whether a mark is one of the kernel's words."""
    if mark == b"WARNING:":
        start = text.rfind(b"\n", max(0, place - LONGEST), place) + 1
        return _WARNING.match(text, place) is not None or (
            _KERNEL.search(text, max(start, place - 256), place) is not None
        )
    pattern = _WORTH.get(mark)
    return pattern is None or pattern.match(text, place) is not None


def windows(
    blocks: Iterable[bytes], *, begins: Callable[[str, str, str], bool], idle: Callable[[], bool]
) -> Iterator[tuple[int, str]]:
    """Yield the lines that matter with their numbers, from 1.

    Args:
        begins: whether a report begins at a line with a mark, given the line before, it, and the
            line after.
        idle: whether none is under way: then lines are skipped to the next mark.
    """
    lines_before = 0
    seen = b""  # the end of what was searched, in which a dump may have begun
    for lines in whole_lines(blocks):
        text = seen + lines
        lines_before -= seen.count(b"\n")
        scan = _Scan(text, len(seen), lines_before)
        yield from scan.lines(begins, idle)
        lines_before += text.count(b"\n")
        kept = max(scan.done, len(text) - BEFORE)
        seen = text[text.find(b"\n", kept - 1) + 1 :] if kept else text
        if kept > len(text) - 1:
            seen = b""


def whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield blocks that end where a line does, the last one where the log does."""
    rest: list[bytes] = []
    size = 0
    mail = MailEncodings()
    for block in utf8(blocks):
        for start in range(0, len(block), BLOCK):
            part = block[start : start + BLOCK]
            end = part.rfind(b"\n") + 1
            if not end and size < BLOCK:
                rest.append(part)
                size += len(part)
                continue
            end = end or len(part)
            yield undone(mail.undone(b"".join([*rest, part[:end]])))
            rest = [part[end:]]
            size = len(rest[0])
    if last := b"".join(rest):
        yield undone(mail.undone(last))


class _Scan:
    """One block: what of it was read, and how many lines were before.

    Attributes:
        done: bytes that were read line by line, or skipped after them: not to be read again.
    """

    def __init__(self, text: bytes, start: int, lines_before: int) -> None:
        self._text = text
        self._at = start  # searched up to here
        self.done = 0
        self._number = lines_before  # lines before `_counted`
        self._counted = 0
        self._next = dict.fromkeys(_MARKS, -1)

    def lines(
        self, begins: Callable[[str, str, str], bool], idle: Callable[[], bool]
    ) -> Iterator[tuple[int, str]]:
        text = self._text
        if not idle():
            self.done = self._at
            yield from self._read(self._at, idle)
        while (mark := self._mark()) is not None:
            start = text.rfind(b"\n", 0, mark) + 1
            end = text.find(b"\n", mark)
            end = len(text) if end < 0 else end
            prev = text.rfind(b"\n", 0, max(0, start - 1)) + 1
            after = text.find(b"\n", end + 1)
            after = len(text) if after < 0 else after
            if begins(
                _decode(text[prev : max(prev, start - 1)]),
                _decode(text[start:end]),
                _decode(text[end + 1 : after]),
            ):
                early = max(self.done, start - BEFORE)
                if early and early != self.done:
                    early = text.find(b"\n", early - 1) + 1
                yield from self._read(early, idle, at_least=after)
            else:
                self._at = end + 1

    def _mark(self) -> int | None:
        """Return the next mark; each search continues where it ended."""
        for mark, place in self._next.items():
            if 0 <= place < self._at or place == -1:
                found = self._text.find(mark, self._at)
                while found >= 0 and not _is_worth(self._text, mark, found):
                    found = self._text.find(mark, found + 1)
                self._next[mark] = len(self._text) if found < 0 else found
        first = min(self._next.values())
        return first if first < len(self._text) else None

    def _read(
        self, start: int, idle: Callable[[], bool], at_least: int = 0
    ) -> Iterator[tuple[int, str]]:
        text = self._text
        self._number += text.count(b"\n", self._counted, start)
        while start < len(text):
            end = text.find(b"\n", start)
            end = len(text) if end < 0 else end
            self._number += 1
            yield self._number, _decode(text[start:end])
            start = end + 1
            if start > at_least and idle():
                break
        self._at = self._counted = self.done = min(start, len(text))


def _decode(line: bytes) -> str:
    return line[:LONGEST].decode("utf-8", "replace")
