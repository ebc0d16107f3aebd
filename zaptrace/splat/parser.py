"""A log -> splats.

Most of a log holds no report: its blocks are searched for the marks of headlines in bulk, and
only what stands around a mark is read line by line (`zaptrace.splat.windows`).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import BinaryIO

from zaptrace.model.splats import Splat
from zaptrace.splat.attributes import Attribute, attribute
from zaptrace.splat.beginnings import Beginning, printed
from zaptrace.splat.copies import Copies, Doubles, Pieces, is_of_another_time, mention, named_above
from zaptrace.splat.draft import Draft
from zaptrace.splat.headlines import Headline, has_mark, headline
from zaptrace.splat.log_text import is_journal_field, pieces
from zaptrace.splat.mail_encodings import GONE
from zaptrace.splat.newest_first import oldest_first
from zaptrace.splat.prefixes import (
    LONGEST,
    STAMP,
    Prefix,
    learn,
    quoted_too,
    says_kernel,
    seconds,
)
from zaptrace.splat.streams import Stream
from zaptrace.splat.windows import BLOCK, windows
from zaptrace.splat.wraps import Last, rejoined

OPEN_STREAMS = 16
"""Sources whose reports can be under way at once."""
AWAITED = 64
"""Reports that come before one that was but named is given up."""


def parse(
    log: bytes | BinaryIO | Iterable[bytes], *, copies: list[int] | None = None
) -> list[Splat]:
    """Every report in a console log, in the order of their headlines.

    Never raises, whatever the bytes are, and takes time linear in them.

    Args:
        copies: gets the lines where a report stands that was counted before.
    """
    return list(splats(log, copies=copies))


def parse_console(console: bytes) -> list[Splat]:
    """Every report in the console of a guest that may still speak, or was ended in mid-word.

    A last word that no line's end follows is left out: it may be the half of a number.
    """
    if console and not console[-1:].isspace():
        words = console.rsplit(maxsplit=1)
        console = words[0] + b"\n" if len(words) > 1 else b""
    return parse(console)


def splats(
    log: bytes | BinaryIO | Iterable[bytes], *, copies: list[int] | None = None
) -> Iterator[Splat]:
    """Yield the reports of a console log as they end, in the order of their headlines.

    Args:
        log: its bytes, a file that is read, or blocks of bytes: cut anywhere.
        copies: gets the lines where a report stands that was counted before.
    """
    blocks, turned = oldest_first(_blocks(log))
    lines: list[int] = []
    for splat in _splats(blocks, lines):
        yield splat if turned is None else replace(splat, line=turned + 1 - (splat.line or 0))
    if copies is not None:
        copies += lines if turned is None else [turned + 1 - line for line in lines]


def _splats(blocks: Iterable[bytes], copies: list[int]) -> Iterator[Splat]:
    reader = _Reader(copies)
    for number, line in windows(blocks, begins=reader.begins, idle=reader.idle):
        if line == GONE:
            reader.gone += 1
            continue
        reader.feed(number - reader.gone, line)
        yield from reader.ended()
    reader.close()
    yield from reader.ended()


def _blocks(log: bytes | BinaryIO | Iterable[bytes]) -> Iterable[bytes]:
    if isinstance(log, bytes):
        return [log]
    if hasattr(log, "read"):
        return iter(lambda: log.read(BLOCK), b"")
    return log


_QUOTES = re.compile(r"[>|\s]*")
_STAMP = re.compile(STAMP)
_TORN_STAMP = re.compile(r"^(?:[0-9]{0,11}\.)?[0-9]{0,6}\] (?=\S)")  # where a log begins in one
_ENDS_PREFIX = re.compile(rf" kernel: ?(?:{STAMP})?$|{STAMP}(?:\[ *[TC][0-9]{{1,10}}\])?:?$")
_AN_EMPTY_LINE = re.compile(rf"{STAMP} {{1,4}}(?={STAMP})")  # which a mailer put before it
_WARNED = re.compile(r"WARNING: CPU: [0-9]{1,5} PID: [0-9]{1,10} at$")


def _with_prefix(before: str, text: str) -> str:
    """Return a line with its prefix, where a mailer broke it right after that."""
    if not _ENDS_PREFIX.search(before, max(0, len(before) - 64)) or _STAMP.search(text):
        return text
    if headline(before) is not None:  # its own end, not the beginning of another line
        return text
    rest = _QUOTES.sub("", text, count=1)
    before = _AN_EMPTY_LINE.sub("", before)
    return f"{before} {rest}" if Last(before, None, before, 0).is_full(rest) else text


def _broken(first: str, second: str) -> Headline | None:
    """Return the headline of a report that two lines hold together, and neither alone."""
    if _STAMP.match(second):
        return None
    stamp = _STAMP.search(first, 0, LONGEST)
    outer = first[: stamp.start()] if stamp else ""  # z/VM's console repeats it
    rest = _QUOTES.sub("", second.removeprefix(outer), count=1)
    last = Last(first, None, first, 0)
    if not rest or not last.is_full(rest):
        return None
    joined = (headline(text) for text in rejoined(last, rest))
    begins = next((one for one in joined if one), None)
    if begins is None or begins.kind.name == "page_dump" or begins.suppressed:
        return None
    if says_kernel(second):
        return None
    alone = headline(first)
    if begins.kind.name == "other":
        sure = says_kernel(begins.before) or _WARNED.search(first)
        return begins if alone is None and sure else None
    return begins if alone is None or alone.kind.name == "other" else None


class _Reader:
    """Lines -> reports, in the order of their headlines.

    Attributes:
        gone: lines so far that were part of others.
    """

    def __init__(self, copies: list[int]) -> None:
        self._lines_of_copies = copies
        self._streams: dict[str, Stream] = {}
        self._spoke_last: Stream | None = None  # a line without a prefix continues it
        self._drafts: deque[Draft] = deque()
        self._suppressed: dict[str, int] = {}
        self._copies = Copies()
        self._doubles = Doubles()
        self._pieces = Pieces()
        self._beginning = Beginning()
        self._last_text = ""
        self._last_number = -1
        self.gone = 0
        self._may_go_on = False
        self._closed = False

    def begins(self, before: str, line: str, after: str) -> bool:
        """Return whether a report begins at a line, or a dump's reason stands there.

        Args:
            before, after: its neighbours, with which it may be one broken line.
        """
        texts = list(pieces(line))
        if any("dumped because" in text or headline(text) or printed(text) for text in texts):
            return True
        lines = [*list(pieces(before))[-1:], *texts, *list(pieces(after))[:1]]
        return any(_broken(*pair) is not None for pair in pairwise(lines))

    def idle(self) -> bool:
        """Return whether no report is under way, and the last line cannot be the beginning of
        one."""
        return not self._streams and not self._may_go_on

    def feed(self, number: int, line: str) -> None:
        """Take a line of the file.

        Args:
            number: of the line, less those that were part of others: lines next to each other have
                numbers next to each other.
            line: it.
        """
        for text in pieces(line):
            if number == 1:
                text = _TORN_STAMP.sub("", text)
            if self._doubles.is_double(text) or self._is_again(text, number):
                continue
            if number - self._last_number == 1:
                if self._last_text.rstrip().endswith((":", "]")):
                    text = _with_prefix(self._last_text.rstrip(), text)
                text = quoted_too(self._last_text, text)
            marked = has_mark(text)
            begins = headline(text) if marked else None
            if begins is None and number - self._last_number == 1:
                begins = self._broken(text)
            if begins is None or not self._begin(begins, text, number):
                self._go_on(text, number)
                if not self._streams:
                    self._begin_torn(text, number)
            self._last_text, self._last_number = text, number
            self._may_go_on = begins is None and marked
        if self._streams:
            self._beginning.clear()
            self._streams = {key: one for key, one in self._streams.items() if one.alive}
        else:
            self._doubles.are_there = False

    def _is_again(self, text: str, number: int) -> bool:
        """Return whether a line is part of a piece that was printed before; the log then goes on
        where it was."""
        if not self._pieces.is_again(text):
            return False
        self._last_number = number
        begins = headline(text) if has_mark(text) else None
        if begins is not None and begins.kind.name != "page_dump":
            self._lines_of_copies.append(number + self.gone)
        return True

    def _broken(self, text: str) -> Headline | None:
        """Return the headline that a line continues; the report that its beginning made is
        dropped."""
        begins = _broken(self._last_text, text)
        if begins is not None and self._drafts and self._drafts[-1].raw == self._last_text:
            for stream in self._streams.values():
                stream.drop(self._drafts[-1])
        return begins

    def _begin(self, begins: Headline, text: str, number: int) -> bool:
        """Begin a report; return False when the line belongs to the dump of another one."""
        kind = begins.kind.name
        if begins.suppressed is not None:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + begins.suppressed
            return True
        prefix = learn(begins.before)
        stream = self._stream_of(prefix, begins.before, text)
        if kind == "page_dump":
            said = attribute(begins.text)
            of_it = stream or next((one for one in self._streams.values() if one.prefix.bare), None)
            if said and of_it and of_it.takes_dump(said):
                return False
            if said and self._take_over(said, begins, prefix, text, number):
                return True
        if any(
            one.repeats(begins, text, number) for one in self._streams.values()
        ) or self._is_last(begins, text):
            self._doubles.are_there = begins.text == self._drafts[-1].headline.text
            return True
        time = seconds(begins.before)
        is_copy = self._copies.is_copy(begins, time)
        draft = Draft(begins, text, number + self.gone, time)
        draft.mention = mention(begins, time, self._drafts, is_copy=is_copy)
        draft.is_copy = draft.dropped = is_copy and not draft.mention
        draft.fields["suppressed"] = self._suppressed.pop(kind, None)
        self._drafts.append(draft)
        stream = stream or self._new_stream(prefix)
        self._spoke_last = stream
        stream.begin(draft, text, number)
        if kind == "page_dump" and (said := attribute(begins.text)):
            if number - self._last_number == 1 and (above := self._flags_above(said, stream)):
                draft.take(above)
            stream.feed(begins.text, text, number, own=True)
        return True

    def _flags_above(self, said: Attribute, stream: Stream) -> Attribute | None:
        """Return the line of flags above the `raw:` line that a dump begins with, if it is its."""
        body = stream.prefix.body(self._last_text) if said.name == "raw" else None
        above = attribute(body[0]) if body and body[1] else None
        if above is None or above.name != "flags":
            return None
        return above if above.fields.get("flags_word") == said.fields["raw"][0] else None

    def _new_stream(self, prefix: Prefix) -> Stream:
        if len(self._streams) >= OPEN_STREAMS:
            oldest = next(iter(self._streams))
            self._streams.pop(oldest).close()
        self._streams[prefix.key] = Stream(prefix)
        return self._streams[prefix.key]

    def _take_over(
        self, said: Attribute, begins: Headline, prefix: Prefix, text: str, number: int
    ) -> bool:
        """Give a page's dump to the headline above that names the page, and has another prefix: a
        prompt stood before it, or its first characters are lost."""
        time = seconds(begins.before)
        draft = next((one for one in self._drafts if one.is_bare and one.is_named_by(said)), None)
        if draft is None or draft.closed or draft.refuses(said) or is_of_another_time(draft, time):
            return False
        for stream in self._streams.values():
            stream.let_go(draft)
        self._spoke_last = self._streams.get(prefix.key) or self._new_stream(prefix)
        self._spoke_last.begin(draft, text, number)
        self._spoke_last.feed(begins.text, text, number, own=True)
        return True

    def _begin_torn(self, text: str, number: int) -> None:
        """Begin a report of which the headline is lost, where a frame says what printed it."""
        self._beginning.add(text, number)
        found = printed(text)
        parts = self._beginning.parts(found) if found else []
        if not found or not parts:
            return
        first = parts[0]
        before = first.raw[: len(first.raw) - len(first.text)]
        draft = Draft(found, first.raw, first.number + self.gone, seconds(before))
        self._drafts.append(draft)
        self._spoke_last = self._new_stream(learn(found.before))
        self._spoke_last.begin(draft, first.raw, first.number)
        for part in parts:
            self._spoke_last.feed(part.text, part.raw, part.number, own=part.own)

    def _stream_of(self, prefix: Prefix, before: str, text: str) -> Stream | None:
        """Return the stream of a headline's source; its prefix can differ from line to line."""
        if stream := self._streams.get(prefix.key):
            return stream
        if prefix.thin:
            return self._thin_stream(prefix)
        return next(
            (
                one
                for one in self._streams.values()
                if not (prefix.bare or one.prefix.bare) and one.prefix.covers(prefix, before, text)
            ),
            None,
        )

    def _thin_stream(self, prefix: Prefix) -> Stream | None:
        """Return the stream of lines with quotes or nothing before them: they are of one source."""
        found = next((one for one in self._streams.values() if one.prefix.thin), None)
        if found and found.prefix.bare:  # quotes come now
            self._streams[prefix.key] = self._streams.pop(found.prefix.key)
            found.prefix = prefix
        return found

    def _is_last(self, begins: Headline, text: str) -> bool:
        """Return whether a one-line report is the last one printed again."""
        last = self._drafts[-1] if self._drafts else None
        return last is not None and last.kind.one_line and last.is_repeated(begins, text)

    def _go_on(self, text: str, number: int) -> None:
        if is_journal_field(text):
            return
        if len(self._streams) == 1:
            self._go_on_alone(next(iter(self._streams.values())), text, number)
            return
        bodies = [(one, one.body(text)) for one in self._streams.values()]
        last = self._spoke_last  # quotes alone tell sources apart no better than nothing does
        dressed = [
            one
            for one, body in bodies
            if body and body[1] and not one.prefix.bare and (one is last or not one.prefix.thin)
        ]
        speaks = next((one for one in dressed if one.prefix.is_of(text)), None)
        speaks = speaks or (last if last in dressed else next(iter(dressed), None))
        taken = speaks is not None
        # Without a prefix it continues the last stream; else its source has no prefixes.
        first = speaks or self._spoke_last
        for stream, body in sorted(bodies, key=lambda pair: pair[0] is not first):
            if body is None or (stream is not first and (taken or not body[1])):
                stream.miss()
            else:
                taken |= stream.feed(body[0], text, number, own=body[1])
        self._spoke_last = first

    def _go_on_alone(self, stream: Stream, text: str, number: int) -> None:
        """Take a line where one source has reports under way."""
        body = stream.body(text)
        if body and body[1] and not stream.prefix.bare:
            self._spoke_last = stream
        if body is None or (stream is not self._spoke_last and not body[1]):
            stream.miss()
        else:
            stream.feed(body[0], text, number, own=body[1])

    def ended(self) -> Iterator[Splat]:
        """Yield the reports that no line can belong to any more."""
        while self._drafts and self._drafts[0].closed:
            if self._drafts[0].awaits_copy and len(self._drafts) < AWAITED and not self._closed:
                break
            draft = self._drafts.popleft()
            is_copy = (
                draft.is_copy or self._copies.is_repeated(draft) or named_above(draft, self._drafts)
            )
            splat = None if is_copy else draft.splat()
            if is_copy:
                self._lines_of_copies.append(draft.fields["line"])
            if splat:
                yield splat

    def close(self) -> None:
        """Take the log's end."""
        self._closed = True
        for stream in self._streams.values():
            stream.close()
