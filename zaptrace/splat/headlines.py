"""The lines that begin a report, or stand for reports that were held back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from zaptrace.splat.lines import Line
from zaptrace.splat.values import decimal, hexadecimal

_KINDS = {
    "page state": "bad_page_state",  # bad_page(), mm/page_alloc.c
    "page map": "bad_page_map",  # print_bad_pte(), print_bad_page_map(), mm/memory.c
    "rss-counter state": "bad_rss_counter",  # check_mm(), kernel/fork.c
}
_BAD = re.compile(r"BUG: Bad (page state|page map|rss-counter state)(?= in process |:| mm:)(.*)")
_SUPPRESSED = re.compile(r": ([0-9]{1,20}) messages suppressed")

# "BUG: Bad page state in process %s  pfn:%05lx", "BUG: Bad page map in process %s  pte:%08llx
# pmd:%08llx"; since "mm/memory: factor out common code from vm_normal_page_*()" (6.18) the
# level's own name stands first and the upper levels follow on a line of their own.
_PROCESS = re.compile(r" in process (.{0,64}?) {1,2}(?=(?:pfn|pte|pmd|pud|p4d|pgd):)")
_ENTRY = re.compile(r"\b(pfn|pte|pmd): ?((?:0x)?[0-9a-fA-F]{1,16})\b", re.ASCII)

# "mm:%p type:%s val:%ld"; "idx:%d" before "fork: improve error message for corrupted page
# tables" (5.4); " Comm:%s Pid:%d" since 6.16.
_RSS = re.compile(
    r" mm:(?P<mm>\S{1,24}) (?:type:(?P<type>\w{1,24})|idx:(?P<index>[0-9]))"
    r" val:(?P<value>-?[0-9]{1,20})(?: Comm:(?P<comm>.{0,64}) Pid:(?P<pid>[0-9]{1,10}))?",
    re.ASCII,
)
_RSS_TYPES = {"0": "MM_FILEPAGES", "1": "MM_ANONPAGES", "2": "MM_SWAPENTS", "3": "MM_SHMEMPAGES"}

# Anything may follow these words on a line that is not a kernel's: be strict there.
_OTHER = re.compile(
    r"(?:watchdog: )?BUG: \S|kernel BUG at |Unable to handle kernel |Kernel panic - not syncing"
    r"|general protection fault|WARNING: CPU: [0-9]|WARNING: \S{1,200}:[0-9]{1,6} at "
)
_OTHER_OF_KERNEL = re.compile(r"WARNING: \S")
_AT_CPU = re.compile(r"WARNING: CPU: ([0-9]{1,5}) PID: ([0-9]{1,10}) at ")


@dataclass(frozen=True, slots=True)
class Headline:
    """What a headline says.

    Attributes:
        kind: the splat's kind.
        suppressed: how many reports of that kind were held back; then this is
            no report itself, and the next one of the kind is about to come.
        goes_on: lines that belong to the report follow.
        fields: what the line itself says, by name of the Splat's field.
    """

    kind: str
    suppressed: int | None = None
    goes_on: bool = True
    fields: dict[str, Any] = field(default_factory=dict)


def headline(line: Line) -> Headline | None:
    """What report begins at a line; None when none does."""
    bad = _BAD.search(line.text)
    if bad:
        return _bad(_KINDS[bad[1]], bad[2])
    if _OTHER.match(line.text) or (line.kernel and _OTHER_OF_KERNEL.match(line.text)):
        fields: dict[str, Any] = {"reason": line.text, **_process_and_entries(line.text)}
        if at := _AT_CPU.match(line.text):
            fields |= {"cpu": int(at[1]), "pid": int(at[2])}
        return Headline("other", fields=fields)
    return None


def _bad(kind: str, rest: str) -> Headline:
    if held_back := _SUPPRESSED.match(rest):
        return Headline(kind, suppressed=int(held_back[1]), goes_on=False)
    if kind == "bad_rss_counter":
        return Headline(kind, goes_on=False, fields=_rss(rest))
    return Headline(kind, fields=_process_and_entries(rest))


def _process_and_entries(text: str) -> dict[str, Any]:
    process = _PROCESS.search(text)
    if not process:
        return {}
    entries = {name: hexadecimal(value) for name, value in _ENTRY.findall(text, process.end())}
    return {"process": process[1], **entries}


def _rss(rest: str) -> dict[str, Any]:
    found = _RSS.match(rest)
    if not found:
        return {}
    return {
        "mm": hexadecimal(found["mm"]),
        "rss_type": found["type"] or _RSS_TYPES.get(found["index"]),
        "rss_value": int(found["value"]),
        "process": found["comm"],
        "comm": found["comm"],
        "pid": decimal(found["pid"]),
    }
