"""The lines that begin a report, or stand for reports that were held back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from zaptrace.splat.kinds import KINDS, Kind
from zaptrace.splat.lines import Line
from zaptrace.splat.values import decimal, hexadecimal

_SUPPRESSED = re.compile(r": ([0-9]{1,20}) messages suppressed")
_RSS_TYPES = {"0": "MM_FILEPAGES", "1": "MM_ANONPAGES", "2": "MM_SWAPENTS", "3": "MM_SHMEMPAGES"}
_READ: dict[str, Callable[[str], Any]] = {
    "pfn": hexadecimal,
    "pte": hexadecimal,
    "pmd": hexadecimal,
    "addr": hexadecimal,
    "vm_flags": hexadecimal,
    "mm": hexadecimal,
    "cpu": decimal,
    "pid": decimal,
    "mapcount": decimal,
    "rss_value": decimal,
}
_BAD = re.compile(r"BUG: Bad |BUG: non-zero ")


@dataclass(frozen=True, slots=True)
class Headline:
    """What a headline says.

    Attributes:
        kind: its row of the table.
        suppressed: how many reports of that kind were held back; then this is
            no report itself, and the next one of the kind is about to come.
        fields: what the line itself says, by name of the Splat's field.
    """

    kind: Kind
    suppressed: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)


def headline(line: Line) -> Headline | None:
    """What report begins at a line; None when none does."""
    bad = _BAD.search(line.text)
    start = bad.start() if bad else 0
    for kind in KINDS:
        if kind.name == "page_dump":
            continue  # it belongs to the report that is under way
        if kind.kernel_only and not line.kernel:
            continue
        if found := kind.headline.match(line.text, start):
            if held_back := _SUPPRESSED.match(line.text, found.end()):
                return Headline(kind, suppressed=int(held_back[1]))
            return Headline(kind, fields=_fields(found))
    return None


def _fields(found: re.Match[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for group, text in found.groupdict().items():
        name = group.removesuffix("_2")  # another form's
        if text is None:
            continue
        if name == "rss_index":
            fields["rss_type"] = _RSS_TYPES.get(text)
        else:
            fields[name] = _READ[name](text) if name in _READ else text
    if "rss_value" in fields and "comm" in fields:
        fields["process"] = fields["comm"]
    return fields
