"""One page, address or process of an audited kernel for a person, at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from zaptrace.audit.inspect import AddressView, PageView, ProcessView
from zaptrace.audit.page_use import PageUse
from zaptrace.audit.pagetables.translate import EntryKind, Step
from zaptrace.audit.references import Account
from zaptrace.report.audit_text import (
    MEANING,
    finding_lines,
    labelled,
    number,
    owner_text,
    wrapped,
)
from zaptrace.report.words import task

_MEANS = {
    EntryKind.EMPTY: "empty: nothing is mapped here",
    EntryKind.SWAP: "not present: swapped out, migrating or a marker",
    EntryKind.MALFORMED: "malformed: no entry that this kernel writes",
    EntryKind.ABSENT: "no such entry: the table is shorter",
    EntryKind.UNREADABLE: "not in the dump",
}


def page_lines(view: PageView) -> Iterator[str]:
    """Yield a page: its counters, its folio, who maps it, what lies beside it."""
    yield f"pfn {view.pfn:#x}: {view.kind}, struct page at {view.page:#x}"
    if view.flags:
        yield from labelled("flags", "|".join(view.flags))
    yield from _counters(view)
    for owner in view.mappings:
        yield from labelled("mapped by", owner_text(owner))
    for label, text in _use(view.use):
        yield from labelled(label, text)
    if view.references is not None:
        yield ""
        yield from _references(view.references)
    yield ""
    yield "  beside it   pfn              kind             PTEs  mapcount  refcount"
    for page in view.neighbours:
        yield (
            f"              {page['pfn']:<#16x} {page['kind']:16.16} {page['ptes']:4,}"
            f"  {number(page['mapcount']):>8}  {number(page['refcount']):>8}"
        )
    if view.finding is None:
        yield ""
        yield from _nothing_found(view)
        return
    yield ""
    yield f"{view.finding.cls.value}:"
    yield from wrapped(MEANING[view.finding.cls], "  ", "  ")
    yield from finding_lines(view.finding, beside=False)


def _counters(view: PageView) -> Iterator[str]:
    """Yield a page's counters and its folio, as far as the dump has its struct page."""
    if view.raw_mapcount is None or view.refcount is None or view.folio is None:
        known = f"{view.ptes:,} PTEs; nothing else is known of its struct page"
        yield from labelled("counters", known)
        return
    yield from labelled(
        "counters",
        f"{view.ptes:,} PTEs, mapcount {number(view.mapcount)} (stored as "
        f"{view.raw_mapcount}), refcount {view.refcount:,}",
    )
    folio = view.folio
    yield from labelled(
        "folio",
        f"pfn {folio['pfn']:#x}, order {folio['order']}, {folio['mappings']:,} mappings, "
        f"mapping {folio['mapping']:#x}"
        + (f", index {folio['index']:#x}" if "index" in folio else ""),
    )


def _nothing_found(view: PageView) -> Iterator[str]:
    """Yield what it means that no finding names the page."""
    if view.references is None:
        yield "whether anything is wrong with this page cannot be told"
        return
    left = view.references.unexplained
    if view.mapcount not in (None, view.ptes):
        yield "PTEs and mapcount differ, but that does not prove anything wrong here: it may be"
        yield "mapped where the audit could not read, or have changed meanwhile"
    elif left:
        are = "1 reference is" if left == 1 else f"{left:,} references are"
        text = f"PTEs and mapcount agree; {are} not explained, which proves nothing by itself"
        yield from wrapped(text, "", "")
    elif view.references.unread or view.use.lost:
        yield "nothing is wrong with this page, as far as it could be read"
    else:
        yield "nothing is wrong with this page"


def _references(account: Account) -> Iterator[str]:
    """Yield who holds the folio's references, and how many nothing is found to hold."""
    yield f"  references  {account.refcount:,} of the folio"
    for one in account.holders:
        who = f"  {one.who}" if one.who else ""
        yield from wrapped(f"{one.what}{who}", f"{one.references:14,}  ", " " * 16)
    if account.unexplained < 0:
        yield from wrapped(
            "missing: more are held than counted", f"{account.unexplained:14,}  ", " " * 16
        )
    else:
        why = ""
        if account.unexplained:
            why = (
                ": leaked, or held by what looks at the page now (get_user_pages(), I/O, a driver)"
            )
        yield from wrapped(f"unexplained{why}", f"{account.unexplained:14,}  ", " " * 16)
    for what in account.unread:
        yield from wrapped(f"not looked at: {what}, which cannot be read", " " * 16, " " * 16)


def _use(use: PageUse) -> Iterator[tuple[str, str]]:
    """Yield what the page is in use for: label and text."""
    if use.free_list:
        yield "free", use.free_list
    if use.slab:
        used = ""
        if "objects" in use.slab:
            used = f", {use.slab['in_use']} of {use.slab['objects']} objects in use"
        yield "slab", f"{use.slab['cache']}{used}"
    if use.file:
        where = use.file["path"] or f"inode {use.file['inode']}"
        yield "file", f"{where} ({use.file['filesystem']}), page {use.file['index']:#x} of it"
    if use.swap:
        file = use.swap["file"] or f"swap file {use.swap['type']}"
        yield "swap entry", f"{file}, offset {use.swap['offset']:#x}"
    if use.cgroup is not None:
        yield "cgroup", use.cgroup
    if use.owner:
        yield from _owner(use.owner)
    if not use.content:
        yield "content", "not in the dump (filtered out, cut off, or all zero)"
    if use.lost:
        yield "lost", f"{', '.join(use.lost)}: what shows it is not in the dump"


def _owner(owner: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what page_owner recorded."""
    state = "allocated" if owner["allocated"] else "was allocated"
    stack = " < ".join(owner["stack"]) or "no stack kept"
    text = f"{state} by {task(owner['comm'], owner['pid'])}, order {owner['order']}, at "
    yield "page_owner", f"{text}{owner['ts_ns'] / 1e9:.6f} s: {stack}"
    if owner["free_stack"]:
        yield (
            "",
            f"last freed at {owner['free_ts_ns'] / 1e9:.6f} s: {' < '.join(owner['free_stack'])}",
        )


def address_lines(view: AddressView) -> Iterator[str]:
    """Yield the way from the top table to the page."""
    yield from wrapped(owner_text(view.owner), "", "  ")
    yield ""
    yield "  level         table            entry  value"
    for step in view.steps:
        yield from _step_lines(step)
    if view.page is not None:
        yield ""
        yield from page_lines(view.page)
    elif view.pfn is not None:
        yield ""
        yield f"pfn {view.pfn:#x} has no struct page: a device's memory"


def _step_lines(step: Step) -> Iterator[str]:
    value = "-" if step.entry is None else f"{step.entry:#018x}"
    yield f"  {step.level:13} {step.table:<#16x} {step.index:5}  {value}"
    if step.target is None:
        yield f"{'':15} {_MEANS[step.kind]}"
        return
    yield from wrapped(
        f"{step.kind.value} at {step.target:#x}  {'|'.join(step.flags)}", " " * 16, " " * 18
    )


def process_lines(view: ProcessView) -> Iterator[str]:
    """Yield an mm: its threads, its counters beside what is mapped, its VMAs."""
    mm = view.owner.mm or 0
    yield f"{task(view.owner.comm, view.owner.pid)}, mm_struct at {mm:#x}"
    yield from labelled("threads", ", ".join(str(pid) for pid in view.threads))
    for name, (was, mapped) in view.rss.items():
        differs = "  <- differs" if was != mapped else ""
        yield from labelled(name[3:].lower(), f"{was:,} recorded, {mapped:,} mapped{differs}")
    for kind, count in view.not_present.items():
        yield from labelled("not present", f"{count:,} {kind}")
    if view.in_flight:
        yield from labelled("in flight", view.in_flight)
    yield ""
    yield "  pages  area"
    for area, pages in view.areas:
        yield from wrapped(area, f"{pages:7,}  ", " " * 9)
    for finding in view.findings:
        yield ""
        yield f"{finding.cls.value}:"
        yield from finding_lines(finding)
    if not view.findings:
        yield ""
        yield "no finding names this process"
