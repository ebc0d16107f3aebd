"""The lines that follow a headline: the page, why it was dumped, the task, the machine.

One table, one pattern a line: each is matched at the start of the line, and
its wildcards are bounded, so that no line costs more than its own length.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from zaptrace.splat.values import decimal, hexadecimal

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One line of a report.

    Attributes:
        name: what kind of line; a report has at most one of each.
        fields: what it says, by name of the Splat's field; absent is missing.
    """

    name: str
    fields: Fields = field(default_factory=dict)


def attribute(text: str) -> Attribute | None:
    """What a line says of the report it belongs to; None when it says nothing."""
    if not _BEGINS.match(text):  # spares most lines (frames, raw dumps) the table
        return None
    for name, pattern, read in _LINES:
        if found := pattern.match(text):
            fields = read(found)
            return Attribute(name, {key: said for key, said in fields.items() if said is not None})
    return None


# __dump_page(), __dump_folio() in mm/debug.c print, newest first:
#   page: refcount:%d mapcount:%d mapping:%p index:%#lx pfn:%#lx         since 6.9
#   page:%p refcount:%d mapcount:%d mapping:%p index:%#lx pfn:%#lx       5.12
#   page:%p refcount:%d mapcount:%d mapping:%p index:%#lx [head:%p ...]  5.2
#   page:%p count:%d mapcount:%d mapping:%p index:%#lx [compound_mapcount: %d]
#   page:%p flags:%p count:%d mapcount:%d mapping:%p index:%lx           2.6
_PAGE_KEYS = re.compile(
    r"(?<![\w])(refcount|count|mapcount|mapping|index|pfn): {0,32}(\S{1,32})", re.ASCII
)


def _page(found: re.Match[str]) -> Fields:
    said = dict(reversed(_PAGE_KEYS.findall(found.string)))  # the first of each counts
    return {
        "refcount": decimal(said.get("refcount", said.get("count"))),
        "mapcount": decimal(said.get("mapcount")),
        "mapping": hexadecimal(said.get("mapping")),
        "index": hexadecimal(said.get("index")),
        "pfn": hexadecimal(said.get("pfn")),
    }


def _flags(found: re.Match[str]) -> Fields:
    # %pGp ends with fields that are no flags: section=, node=, zone=, lastcpupid=, kasantag=.
    names = [name for name in found[2].split("|") if name and "=" not in name]
    return {"flags": tuple(names), "flags_word": hexadecimal(found[1])}


# print_bad_pte(), print_bad_page_map():
#   addr:%px vm_flags:%08lx anon_vma:%px mapping:%px index:%lx
# `mapping` is the file's and `index` the VMA's: they speak for the page when it did not.
_VMA_KEYS = re.compile(r"(?<![\w])(addr|vm_flags|mapping|index): {0,32}(\S{1,32})", re.ASCII)


def _vma(found: re.Match[str]) -> Fields:
    return {name: hexadecimal(said) for name, said in _VMA_KEYS.findall(found.string)}


def _file(found: re.Match[str]) -> Fields:
    name = found[1].strip()
    return {
        "file": None if name == "(null)" else name,
        "vm_fault": _function(found[2]),
        "file_mmap": _function(found[3]),
    }


def _function(name: str | None) -> str | None:
    """A handler's name; %ps prints 0x0 and (null) for none."""
    return None if name in ("0x0", "(null)") else name


# dump_stack_print_info() in lib/dump_stack.c; "UID: %u" since 6.12; "Pid: %d, comm: %.20s"
# until 3.10.  print_tainted() pads absent letters with blanks.
_WHO = r"(?P<comm>.{0,64}?) (?:Kdump: loaded )?(?:Not tainted|Tainted: (?P<tainted>[A-Z][A-Z ]*+))"
_RELEASE = r" *(?P<release>[0-9]\S{0,64})?"


def _task(found: re.Match[str]) -> Fields:
    said = found.groupdict()
    return {
        "cpu": decimal(said.get("cpu")),
        "pid": decimal(said["pid"]),
        "comm": said["comm"],
        "tainted": (said["tainted"] or "").replace(" ", "") or None,
        "kernel_release": said["release"],
    }


_BEGINS = re.compile(
    r"page|memcg:|(?:\w{1,8} )?flags:|pgd:|addr:|file:|CPU:|Pid:|Hardware|Call [Tt]|Last B|---\["
)


def _nothing(_found: re.Match[str]) -> Fields:
    return {}


_LINES: tuple[tuple[str, re.Pattern[str], Callable[[re.Match[str]], Fields]], ...] = (
    ("page", re.compile(r"page:[^:]{0,40}\b(?:flags:\S{1,20} )?(?:ref)?count:-?[0-9]"), _page),
    ("flags", re.compile(r"(?:\w{1,8} )?flags: (?:0x)?([0-9a-f]{1,16})\(([^)]*)"), _flags),
    (
        "memcg",  # __dump_page(): page->memcg_data
        re.compile(r"memcg: ?([0-9a-f]{1,16})\b"),
        lambda found: {"memcg": hexadecimal(found[1])},
    ),
    (
        "page_type",
        re.compile(r"page_type: (?:0x)?([0-9a-f]{1,8})\b"),
        lambda found: {"page_type": int(found[1], 16)},
    ),
    (
        "reason",
        re.compile(r"page dumped because: (.{1,200})"),
        lambda found: {"reason": found[1]},
    ),
    (
        "tables",  # __print_bad_page_map_pgtable()
        re.compile(r"pgd: ?[0-9a-f]{1,16}\b(?:.{0,120} pmd: ?([0-9a-f]{1,16}))?"),
        lambda found: {"pmd": hexadecimal(found[1])},
    ),
    ("vma", re.compile(r"addr:\S{1,24} vm_flags:"), _vma),
    ("file", re.compile(r"file:(.{0,300}) fault: ?(\S{1,128})(?: mmap: ?(\S{1,128}))?"), _file),
    (
        "task",
        re.compile(
            r"CPU: (?P<cpu>[0-9]{1,5}) (?:UID: [0-9]{1,10} )?PID: (?P<pid>[0-9]{1,10}) Comm: "
            + _WHO
            + _RELEASE
        ),
        _task,
    ),
    ("task", re.compile(r"Pid: (?P<pid>[0-9]{1,10}), comm: " + _WHO + _RELEASE), _task),
    (
        "hardware",
        re.compile(r"Hardware name: (.{1,300})"),
        lambda found: {"hardware": found[1]},
    ),
    ("trace", re.compile(r"Call [Tt]race:"), _nothing),
    # After the trace: where the last branch came from is no caller.
    ("end", re.compile(r"Last Breaking-Event-Address|---\[ end "), _nothing),
)
