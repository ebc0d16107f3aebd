"""One page, address or process of an audited kernel for a person, at most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from zaptrace.audit.inspect import AddressView, PageView, ProcessView
from zaptrace.audit.pagetables.translate import EntryKind, Step
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
    """A page: its counters, its folio, who maps it, what lies beside it."""
    yield f"pfn {view.pfn:#x}: {view.kind}, struct page at {view.page:#x}"
    if view.flags:
        yield from labelled("flags", "|".join(view.flags))
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
    for owner in view.mappings:
        yield from labelled("mapped by", owner_text(owner))
    yield ""
    yield "  beside it   pfn              kind             PTEs  mapcount  refcount"
    for page in view.neighbours:
        yield (
            f"              {page['pfn']:<#16x} {page['kind']:16.16} {page['ptes']:4,}"
            f"  {number(page['mapcount']):>8}  {page['refcount']:8,}"
        )
    if view.finding is None:
        yield ""
        if view.mapcount in (None, view.ptes):
            yield "nothing is wrong with this page"
        else:
            yield "PTEs and mapcount differ, but that does not prove anything wrong here: it may be"
            yield "mapped where nobody could look, or have changed meanwhile"
        return
    yield ""
    yield f"{view.finding.cls.value}:"
    yield from wrapped(MEANING[view.finding.cls], "  ", "  ")
    yield from finding_lines(view.finding, beside=False)


def address_lines(view: AddressView) -> Iterator[str]:
    """The way from the top table to the page."""
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
    """An mm: its threads, its counters beside what is mapped, its VMAs."""
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
