"""Logs that were printed with the newest line first (`journalctl -r`) -> in the order of time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise

LOOKED_AT = 1 << 20
"""Bytes at a log's beginning that say its order: the newest report stands there."""
MOST_BYTES = 1 << 26
"""Of a log, in such an order, that are turned round: it must be held for that."""

# In which order the kernel prints two lines of one report.
_TASK = rb"CPU: [0-9]{1,5} (?:UID: [0-9]{1,10} )?PID: [0-9]{1,10} "
_PAGE = rb"page: ?[0-9a-f(]?[^\n]{0,24}count:"
_STAMP = re.compile(rb"^[^\n\[]{0,64}\[ {0,11}([0-9]{1,12}\.[0-9]{6})\]", re.MULTILINE)
_OLD_TASK = rb"Pid: [0-9]{1,10}, comm: "
_PAIRS = (
    (_TASK, rb"Hardware name: "),
    (_OLD_TASK, rb"Call Trace:"),
    (rb"BUG: Bad page state in process ", _PAGE),
    (rb"(?<!BUG: )Bad page state (?:at|in process)", rb"(?:page|flags):"),
    (rb"BUG: Bad page map in process ", rb"(?:page|addr|pgd):"),
    (rb"Bad pte = ", _OLD_TASK),
    (_PAGE, rb"(?:[a-z]{1,5} )?(?:page )?flags: "),
    (rb"raw: [0-9a-f]{8}[0-9a-f ]{8,80}", rb"page dumped because: "),
    (rb"cut here \]", rb"(?:WARNING: |kernel BUG at )"),
    (rb"(?:WARNING: |kernel BUG at )", rb"(?:Modules linked in|CPU: )"),
    (rb"addr:[0-9a-f]{4,16} vm_flags", rb"file:"),
    (rb"mapping:\S{1,20} mapcount:", rb"Trying to fix it up"),
    (rb"Trying to fix it up", rb"Backtrace:"),
    (rb"Corrupted page table at ", rb"PGD "),
    (rb"PGD [0-9a-f]", rb"Bad pagetable: "),
    (rb"Call [Tt]race:", rb"\+0x[0-9a-f]{1,8}/0x[0-9a-f]"),
    (rb"(?:kernel BUG at |Internal error: )", rb"(?:Internal error: |Modules linked in)"),
    (rb"pc : ", rb"lr : "),
    (rb"lr : ", rb"sp : "),
    (rb"RSP: 0", rb"RAX: "),
)
_MARKS = (
    b"BUG: ",
    b"Bad p",
    b": bad p",
    b"d swap ",
    b"Call Trace:",
    b"Hardware name: ",
    b"ernel BUG at ",
    b"WARNING: ",
    b"page dumped because: ",
)
NEAR = 3 << 10
"""Bytes around a mark; a report has as many."""
_LINES = tuple(
    tuple(
        re.compile(rb"%b[^\n]{0,1000}\n([^\n]{0,200}?)%b" % pair)
        for pair in ((first, second), (second, first))
    )
    for first, second in _PAIRS
)


def _count(lines: re.Pattern[bytes], text: bytes) -> int:
    """Return how often two lines with the same prefix stand below each other."""
    count = 0
    for found in lines.finditer(text):
        start = text.rfind(b"\n", 0, found.start()) + 1
        above, below = text[start : found.start()], found[1]
        count += above.startswith(below) or below.startswith(above)
    return count


def _near_reports(text: bytes) -> bytes:
    """Return the lines around the first mark of each kind: what a whole log costs is not worth
    it."""
    places = sorted(place for mark in _MARKS if (place := text.find(mark, 0, LOOKED_AT)) >= 0)
    found: list[bytes] = []
    end = 0
    for place in places:
        start = max(text.rfind(b"\n", 0, max(0, place - NEAR)) + 1, end)
        end = max(end, min(len(text), place + NEAR))
        found.append(text[start:end])
    return b"".join(found)


def is_newest_first(text: bytes) -> bool:
    """Return whether the lines stand in the order against that of time, by stamps or by reports."""
    text = _near_reports(text)
    times = [float(one[1]) for one in _STAMP.finditer(text)]
    later = sum(one < two for one, two in pairwise(times))
    earlier = sum(one > two for one, two in pairwise(times))
    if later or earlier:
        return earlier > 1 and earlier > 4 * later
    usual = turned = 0
    for in_order, against in _LINES:
        usual += _count(in_order, text)
        turned += _count(against, text)
    return turned > 1 and turned > 4 * usual


def oldest_first(blocks: Iterable[bytes]) -> tuple[Iterable[bytes], int | None]:
    """Return a log's blocks in the order of time, and how many lines it has if it was turned."""
    rest = iter(blocks)
    first = _beginning(rest)
    if not is_newest_first(first):
        return chain((first,), rest), None
    text = bytearray(first)
    for block in rest:
        text += block[: MOST_BYTES - len(text)]
        if len(text) >= MOST_BYTES:
            break
    lines = bytes(text).removesuffix(b"\n").split(b"\n")
    lines.reverse()
    return (b"\n".join(lines) + b"\n",), len(lines)


def _beginning(blocks: Iterator[bytes]) -> bytes:
    found: list[bytes] = []
    size = 0
    for block in blocks:
        found.append(block)
        size += len(block)
        if size >= LOOKED_AT:
            break
    return b"".join(found)
