"""The lines that begin a report, or stand for reports that were held back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from zaptrace.splat.kinds import KINDS, OF_NAME, Kind
from zaptrace.splat.prefixes import is_prefix, says_kernel, strip_known
from zaptrace.splat.values import decimal, hexadecimal

# A cheap test before the patterns: every headline has one of these.
_MARKS = re.compile(
    r"BUG|WARNING:|Bad p|bad p|d swap|Corrupted p|Unable to h|panic - n|general prot|Eeek!"
    r"|: 0000 \[|count:|raw: |ed because: VM_|vma [0-9a-fx]{8}|mm [0-9a-fx]{8}"
)
_MARKED = [(mark, kind) for kind in KINDS for mark in kind.marks]
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
# Since 6.18 WARN() ends its first line with the task; watchdogs and __schedule_bug() always did.
_AT_TASK = re.compile(
    r", CPU#(?P<cpu>[0-9]{1,5}): (?P<comm>.{0,64})/(?P<pid>[0-9]{1,10})$"
    r"|lockup - CPU#(?P<cpu_2>[0-9]{1,5}) stuck for .{1,24} "
    r"\[(?P<comm_2>.{1,64}):(?P<pid_2>[0-9]{1,10})\]$"
    r"|scheduling while atomic: (?P<comm_3>.{1,64})/(?P<pid_3>[0-9]{1,10})/0x[0-9a-f]{1,8}$"
)
# What syzkaller calls a report: no kernel ends a headline with a function's bare name.
_TITLE = re.compile(
    r"(?:BUG: |WARNING|general protection fault|Kernel panic)(?!.{0,200}\+0x).{0,120}"
    r" in [A-Za-z_][\w.]{2,100}(?: \([0-9]{1,4}\))?$"
)
_TRACE = re.compile(r"\s+(?:Call [Tt]race|Mem abort info|printing eip):$")  # the next line
_MARKS_BEFORE = ('","', ": ", "] ", "> ", "; ", ";", "| ", "]", "Z ", "\t")
_CLOCK = re.compile(r".{0,24}[0-9]:[0-9]{2}")
_CPU = re.compile(r"c[0-9]{1,3}\s{1,8}(?:[0-9]{1,8} )?")  # Qualcomm's, Spreadtrum's
_COMM = 15  # TASK_COMM_LEN less the NUL
_SENTENCE = re.compile(r"\s+[A-Za-z]{2,}[\s,.]+[A-Za-z]{2,}|[^\w\s]{0,2}[,\"'`]|.{0,8}%")


@dataclass(frozen=True, slots=True)
class Headline:
    """What a headline says.

    Attributes:
        kind: its row of the table.
        before: what stands before it on its line.
        text: it, and what stands after it.
        suppressed: how many reports of that kind were held back; then this is
            no report itself, and the next one of the kind is about to come.
        fields: what the line itself says, by name of the Splat's field.
    """

    kind: Kind
    before: str
    text: str
    suppressed: int | None = None
    fields: dict[str, Any] = field(default_factory=dict)


def has_mark(text: str) -> bool:
    """Return whether a report may begin at a line: a cheap test."""
    return _MARKS.search(text) is not None


def headline(text: str) -> Headline | None:
    """Return what report begins at a line; None when none does."""
    if not has_mark(text):
        return None
    for mark, kind in _MARKED:
        if mark in text and (found := kind.headline.search(text)):
            return _headline(kind, text, found)
    return None


def _headline(kind: Kind, text: str, found: re.Match[str]) -> Headline | None:
    before, fields = text[: found.start()], fields_of(found)
    if kind.task_before:
        before, fields["process"] = _task_before(before.removesuffix(": "))
    kernel = says_kernel(before)
    if not is_prefix(before) or (kind.kernel_only and not kernel):
        return None
    if held_back := _SUPPRESSED.match(text, found.end()):
        return Headline(kind, before, text[len(before) :], int(held_back[1]))
    if not kernel and kind.name == "other" and _TITLE.match(fields.get("reason") or ""):
        return None
    if not kernel and kind.about_pages and _is_quoted(text, found, fields):
        return None
    return Headline(kind, before, text[len(before) :], fields=fields)


def _is_quoted(text: str, found: re.Match[str], fields: dict[str, Any]) -> bool:
    """Return whether the words quote a report, in a text about it."""
    rest = text[found.end() :]
    if found.re is OF_NAME["page_dump"].headline:
        return False
    if not fields and not rest.startswith(" in process "):
        return rest != "" or found.group().startswith("BUG: ")
    return _SENTENCE.match(rest) is not None or '"' in rest


def _task_before(before: str) -> tuple[str, str]:
    """Return what stands before a task's name, and the name: it can hold blanks and colons."""
    start = strip_known(before).end
    cpu = _CPU.match(before, start)
    start = cpu.end() if cpu else start
    marks = (before.rfind(mark, start) + len(mark) for mark in _MARKS_BEFORE if mark in before)
    start = max((start, *marks))
    if len(before) - start > _COMM or _CLOCK.match(before, start):
        start = before.rstrip().rfind(" ") + 1
    start += len(before[start:]) - len(before[start:].lstrip())
    return before[:start], before[start:].strip()


def fields_of(found: re.Match[str]) -> dict[str, Any]:
    """Read the named groups of a headline; their names are fields of Splat."""
    fields: dict[str, Any] = {}
    for group, text in found.groupdict().items():
        name = group.removesuffix("_2")  # another form's
        if text is None:
            continue
        if name == "rss_index":
            fields["rss_type"] = _RSS_TYPES.get(text)
        else:
            fields[name] = _READ[name](text) if name in _READ else _TRACE.sub("", text.strip())
    if "rss_value" in fields and "comm" in fields:
        fields["process"] = fields["comm"]
    if at := _AT_TASK.search(fields.get("reason") or ""):
        fields |= {"comm": at["comm"] or at["comm_2"] or at["comm_3"]}
        fields |= {"pid": int(at["pid"] or at["pid_2"] or at["pid_3"])}
        if cpu := at["cpu"] or at["cpu_2"]:
            fields["cpu"] = int(cpu)
    return fields
