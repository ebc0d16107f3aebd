"""Reports of which a log has no headline: it begins in their middle.

The kernel's ring buffer wrapped, or a console was read too late.  Which report it was is still
said where the call trace goes through the function that printed it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from zaptrace.model.splats import Frame
from zaptrace.splat.attributes import attribute, is_known
from zaptrace.splat.headlines import Headline
from zaptrace.splat.kinds import KINDS
from zaptrace.splat.prefixes import is_prefix, learn, says_kernel
from zaptrace.splat.stack_frames import decoded_frame, frame

MOST_LINES = 32
"""Lines of a report that can stand before the function that printed it."""
FIRST_FRAMES = 6
"""What prints a stack, and what called it."""

_KINDS = {
    "bad_page": "bad_page_state",
    "print_bad_pte": "bad_page_map",
    "print_bad_page_map": "bad_page_map",
}
_PRINTED = re.compile(
    r"\(?(?:\[<?(?:[0-9a-f]{8,16}|\(_{0,4}ptrval_{0,4}\))>?\] *){0,2}\(?(?:\? )?\(?"
    r"(?<![\w.$])(?P<name>bad_page|print_bad_pte|print_bad_page_map)(?:\.[\w.]{1,64})?"
    r"(?:\+0x[0-9a-f]{1,16}/0x|\)? from |\) from | \([\w./-]{1,200}\.c:[0-9])",
    re.ASCII,
)
_BLANK = re.compile(r"[>|\s]*")


@dataclass(frozen=True, slots=True)
class Part:
    """A line of a report.

    Attributes:
        text: its words.
        raw: it, prefix and all.
        number: of the line.
        own: its prefix stands before it: it is no rest of a line that was broken.
    """

    text: str
    raw: str
    number: int
    own: bool


def printed(text: str) -> Headline | None:
    """Return what report printed itself from a frame; None when the line is none of such a
    function."""
    if "bad_p" not in text or not (found := _PRINTED.search(text)):
        return None
    before = text[: found.start()]
    if not is_prefix(before) or not (_BLANK.fullmatch(before) or says_kernel(before)):
        return None
    shown = text[len(before) :].strip()
    if not (frame(shown) or decoded_frame(shown)):
        return None
    name = _KINDS[found["name"]]
    return Headline(next(kind for kind in KINDS if kind.name == name), before, shown)


def kind_of(trace: Sequence[Frame]) -> str | None:
    """Return the kind of report that a call trace says printed itself; None when it does not."""
    names = ((frame.symbol or "").partition(".")[0] for frame in trace[:FIRST_FRAMES])
    return next((_KINDS[name] for name in names if name in _KINDS), None)


class Beginning:
    """The last lines that no report took."""

    def __init__(self) -> None:
        self._lines: deque[tuple[str, int]] = deque(maxlen=MOST_LINES)

    def add(self, text: str, number: int) -> None:
        """Remember a line."""
        self._lines.append((text, number))

    def clear(self) -> None:
        """Forget them: a report is under way."""
        self._lines.clear()

    def parts(self, found: Headline) -> list[Part]:
        """Return the lines of the report of which the last one is a frame, that frame last."""
        prefix = learn(found.before)
        parts: list[Part] = []
        for text, number in reversed(self._lines):
            body = prefix.body(text)
            if body is None or (parts and parts[-1].number - number > 1):
                break
            if parts and body[1] and not _is_part(body[0]):
                break
            parts.append(Part(body[0], text, number, body[1]))
        parts.reverse()
        while parts and not parts[0].own:
            parts.pop(0)
        while len(parts) > 1 and not (attribute(parts[0].text) or frame(parts[0].text)):
            parts.pop(0)  # usual lines, of whatever came before
        return parts


def _is_part(text: str) -> bool:
    said = attribute(text)
    if said:
        return said.name != "end"
    return is_known(text) or frame(text) is not None or decoded_frame(text) is not None
