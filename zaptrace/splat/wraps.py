"""Lines that a mailer or a terminal broke in two.

A line that no rule reads may be the rest of the line before it: it is, when the kernel's own
format says that something was missing there.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from zaptrace.model.splats import FolioCounters, Frame
from zaptrace.splat.attributes import Attribute, attribute, is_known
from zaptrace.splat.stack_frames import decoded_frame, fault, frame

NARROWEST = 64
"""Mailers break lines at 66 columns or more."""
TERMINALS = frozenset({80, 100, 120, 128, 132, 160, 200})
"""Columns at which terminals break lines, inside words too."""
_WORDS = frozenset({"reason", "hardware", "file", "comm"})
_QUOTES = re.compile(r"[>|\s]*")


@dataclass(frozen=True, slots=True)
class Last:
    """The line before.

    Attributes:
        text: its words.
        said: what it says of a report, None when nothing.
        raw: it, prefix and all.
        number: line of the file.
        taken: a report took it.
    """

    text: str
    said: Attribute | None
    raw: str
    number: int
    taken: bool = True

    @property
    def width(self) -> int:
        """Its columns, prefix and all."""
        return len(self.raw)

    @property
    def columns(self) -> int:
        """Its columns without a mail's quotes."""
        return len(self.raw) - _quoted(self.raw)

    @property
    def fills_columns(self) -> bool:
        """Whether it is as wide as a terminal, with its quotes or without."""
        return not TERMINALS.isdisjoint((self.width, self.columns))

    def is_full(self, text: str) -> bool:
        """Return whether a line had no room for the first word of the next one."""
        words = text.split(maxsplit=1)
        return bool(words) and self.width + 1 + len(words[0]) > NARROWEST


@dataclass(frozen=True, slots=True)
class Whole:
    """What two lines say together.

    Attributes:
        text: both.
        said: as an attribute.
        adds: fields that the first alone did not say; None when it said nothing.
        fault: as the faulting function.
        frame: as a frame of a trace.
        instead: the first text alone was read as a frame.
    """

    text: str
    said: Attribute | None = None
    adds: dict[str, Any] | None = None
    fault: Frame | None = None
    frame: Frame | None = None
    instead: bool = False


def rejoined(last: Last, text: str) -> list[str]:
    """Return the ways to join a line to the one before, the likelier first."""
    rest = unquoted(text)
    blank, glued = f"{last.text} {rest}", last.text + rest
    if _BEGINS_WORD.match(rest):
        return [blank]
    if last.fills_columns or last.text.endswith(("-", "_")) or rest.startswith(","):
        return [glued, blank]
    return [blank, glued] if last.text.startswith("Hardware name: ") else [blank]


# What stands after a blank: the build's number, the next field's name.
_BEGINS_WORD = re.compile(
    r"#[0-9]|(?:read_folio|readpage|mmap|mmap_prepare|fault|mapcount|mapping|index|pfn|refcount|pmd"
    r"|vm_flags|anon_vma|Comm|Pid|val|type|idx):"
)


def grows(before: str, reason: str, *, full: bool) -> bool:
    """Return whether a headline's words may be the beginning of longer ones."""
    if before == reason:
        return True
    if not full or not reason.startswith(before):
        return False
    rest = reason[len(before) :].lstrip()
    if _WHOLE.search(before):  # a symbolizer's file follows, or a size's last digits
        half = reason[len(before)].isalnum() and not before.endswith("!")
        return half or _PATH.fullmatch(rest) is not None
    if _AT_LINE.search(before):
        return _FUNCTION.match(rest) is not None
    if not _AT_ADDRESS.search(before):
        return True
    # arm says of what access; a terminal breaks inside of words.
    return rest.startswith("when ") or reason[len(before)].isalnum()


def says_more(before: dict[str, Any], said: dict[str, Any], *, full: bool) -> bool:
    """Return whether a joined headline says what its beginning did, and more.

    Args:
        before: what the beginning said.
        said: what it says with the rest.
        full: it had no room for the next word.
    """
    return said != before and all(
        name in said
        and (said[name] == value or (name == "reason" and grows(value, said[name], full=full)))
        for name, value in before.items()
    )


def lacks_function(reason: str) -> bool:
    """Return whether a WARNING's function was on a line of its own."""
    return _AT_LINE.search(reason) is not None


_WHOLE = re.compile(r"!$|\+0x[0-9a-f]{1,16}/0x[0-9a-f]")
_AT_ADDRESS = re.compile(r"address:? (?:0x)?[0-9a-f]{8,16}$")
_AT_LINE = re.compile(r"^WARNING: .{0,80}\bat \S{1,200}:[0-9]{1,7}$")  # a function follows
_FUNCTION = re.compile(r"[\w.$]{1,200}(?:\+0x|\(\)| [\w./+-]{1,200}\.[chS]:[0-9])")


def whole(last: Last, text: str) -> Whole | None:
    """Return what a line says with the one before it; None when it is not the rest of that one."""
    more: Whole | None = None
    for joined in rejoined(last, text):
        glued = joined == last.text + unquoted(text)
        if said := attribute(joined):
            if last.said is None:
                return Whole(joined, said)
            adds = _adds(last, said, text, glued=glued) if said.name == last.said.name else {}
            if len(adds) > len(more.adds or () if more else ()):
                more = Whole(joined, said, adds)
        elif last.said is None and (
            _AWAITS.search(last.text)
            or _ENDS.match(text)
            or (_FILES.match(text) and _NAME.fullmatch(last.text))
            or (glued and frame(text) is None and frame(joined) != frame(last.text))
        ):
            if (shown := fault(joined)) and not fault(last.text):
                return Whole(joined, fault=shown)
            if shown := frame(joined) or (decoded_frame(joined) if _FILES.match(text) else None):
                return Whole(joined, frame=shown, instead=frame(last.text) is not None)
    return more


_NAME = re.compile(r"(?:\? )?[A-Za-z_][\w.$]{0,511}", re.ASCII)
_FILES = re.compile(r"\(?[\w.+/-]{1,200}\.[chS]:[0-9]")  # of a frame that was decoded
_PATH = re.compile(r"[\w./+-]{3,200}\.(?:[chS]|rs):[0-9]{1,7}(?: \[inline\])?")
_ENDS = re.compile(
    rf"\(unreliable\)|\([A-Z]{{1,3}}\)$|\[\w{{1,64}}\]$|{_PATH.pattern}$"
)  # what stands after a symbol
# What ends where a frame's symbol, or its address, must follow.
_AWAITS = re.compile(
    r"(?:^|[\])>] *)\?$|^\[[0-9a-f]{8} :$|^\(?\[[^\]]{1,24}\]\)?(?: \[[^\]]{1,24}\])?$"
    r"|^(?:[RE]?IP|NIP|PC|pc|epc|ERA|Krnl PSW)\b"
    r"|from(?: \[<[0-9a-f]{1,16}>\])?$"
)


_TAINT = re.compile(r"[A-Z][A-Z ]{0,40}(?:$| [0-9])", re.ASCII)


def _adds(last: Last, said: Attribute, text: str, *, glued: bool) -> dict[str, Any]:
    """Return what the joined line says and the first did not; nothing when they contradict."""
    old = last.said.fields if last.said else {}
    full = glued or last.is_full(text) or set(old) == {"hardware"}
    is_taint = not old.get("kernel_release") and _TAINT.match(text)  # that always follows it
    adds = {}
    for name, value in said.fields.items():
        before = old.get(name)
        if value == before:
            continue
        other = glued and name != "tainted"  # half a number is another one; a taint grows
        goes_on = full or (name == "tainted" and is_taint)
        if not (before is None or other or (goes_on and _grows(before, value))):
            return {}
        adds[name] = value
    if set(adds) <= _WORDS and not _was_incomplete(old, adds, text):
        return {}
    return adds


def _grows(before: Any, value: Any) -> bool:
    """Return whether a field of the first line may be the beginning of the whole's."""
    if isinstance(value, tuple):
        return bool(value[: len(before)] == before)
    if isinstance(value, FolioCounters):
        said = dataclasses.asdict(value)
        return all(one in (None, said[key]) for key, one in dataclasses.asdict(before).items())
    return isinstance(value, str) and value.startswith(before)


# page_bad_reason(), free_tail_page_prepare() in mm/page_alloc.c, filemap_unaccount_folio().
PAGE_REASONS = (
    "nonzero mapcount",
    "non-NULL mapping",
    "nonzero _refcount",
    "nonzero _count",
    "PAGE_FLAGS_CHECK_AT_FREE flag(s) set",
    "PAGE_FLAGS_CHECK_AT_PREP flag set",
    "PAGE_FLAGS_CHECK_AT_PREP flag(s) set",
    "page still charged to cgroup",
    "page_pool leak",
    "corrupted mapping in tail page",
    "still mapped when deleted",
    "nonzero compound_mapcount",
    "nonzero entire_mapcount",
    "nonzero large_mapcount",
    "nonzero nr_pages_mapped",
    "nonzero pincount",
    "on deferred list",
    "PageTail not set",
    "compound_head not consistent",
)
_HARDWARE_ENDS = re.compile(r"(?:[0-9]{2}/[0-9]{2}/[0-9]{2,4}|\))$")


def _was_incomplete(old: dict[str, Any], adds: dict[str, Any], text: str) -> bool:
    """Return whether words that were broken lacked something that the kernel prints."""
    if reason := adds.get("reason"):
        was = old.get("reason") or ""
        closes = was.count("(") > was.count(")") and reason.count("(") == reason.count(")")
        return closes or any(one.startswith(reason) for one in PAGE_REASONS)
    if hardware := adds.get("hardware"):
        was = old.get("hardware") or ""
        in_word = was.endswith(("-", "_")) and attribute(text) is None and not is_known(text)
        return in_word or (
            not _HARDWARE_ENDS.search(was) and _HARDWARE_ENDS.search(hardware) is not None
        )
    return False


def unquoted(text: str) -> str:
    """Return a line without a mail's quotes."""
    return text[_quoted(text) :]


def quotes(text: str) -> int:
    """Return how many answers quote a line."""
    return text.count(">", 0, _quoted(text))


def _quoted(text: str) -> int:
    found = _QUOTES.match(text)
    return found.end() if found else 0
