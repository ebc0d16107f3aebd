"""An audit's result for a person: causes, worst first, at most 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

from zaptrace.model.findings import AuditResult, Finding, FindingClass, Owner
from zaptrace.report.words import task

WIDTH = 80
SHOWN_PER_CLASS = 6
SHOWN_MAPPINGS = 4
SHOWN_ALIKE = 24

MEANING = {
    FindingClass.MAPPED_BUT_FREE: "PTEs map a page that is free: others may get it.",
    FindingClass.DIRTY_FREE_PAGE: "A page on a free list still has references or mappings.",
    FindingClass.REFCOUNT_BELOW_MAPCOUNT: "More mappings than references: "
    "the page was freed, or is being freed, while it still counts as mapped.",
    FindingClass.MAPCOUNT_UNDERFLOW: "The rmap was removed more often than it was added.",
    FindingClass.MORE_PTES_THAN_MAPCOUNT: "PTEs that no mapcount stands for: "
    "the rmap was removed and the PTE stayed.",
    FindingClass.MORE_MAPCOUNT_THAN_PTES: "Mappings counted that no page table has: "
    "the PTE went and the rmap was not removed.",
    FindingClass.WRONG_RMAP: "An anonymous page's rmap does not lead to where its PTE is: "
    "reclaim, migration and the like do not find that mapping.",
    FindingClass.WRITABLE_BUT_SHARED: "Two PTEs map an anonymous page, and one of them may write: "
    "what one process writes the other reads.",
    FindingClass.STALE_MIGRATION_ENTRY: "A migration entry names a page that nobody migrates: "
    "who touches it waits, or fails an assertion.",
    FindingClass.PTE_OUTSIDE_VMAS: "A PTE is in no VMA: munmap() or mremap() left it, "
    "and its process reaches the page still.",
    FindingClass.WRITABLE_NOT_OWN: "A PTE may write to a page that is not its mapping's own: "
    "who else has the page, or gets it next by fork(), reads what is written.",
    FindingClass.PTE_BEYOND_VMA: "A PTE gives a right that its VMA has not: "
    "mprotect() and the like do not protect that page.",
    FindingClass.WRONG_FILE_PAGE: "A PTE maps another page than its VMA has there: "
    "one of another file, of another place in it, or of none.",
    FindingClass.TAIL_WITHOUT_HEAD: "A tail page's compound_head leads to no folio: "
    "its counters are another page's.",
    FindingClass.LRU_FLAG_MISMATCH: "PG_lru is not what the LRU lists say: "
    "reclaim misses the page, or a list breaks when it goes.",
    FindingClass.FREE_LIST_BROKEN: "A free list does not lead on as a list does: "
    "a page is handed out twice, or the rest of the list is lost.",
    FindingClass.LEFT_LOCKED: "A page is locked, and no task is at work that could hold the lock: "
    "who wants it waits for ever.",
    FindingClass.REFCOUNT_LEAKED: "References that nothing holds: the page is never freed.",
    FindingClass.LOCKED_VM_MISMATCH: "An mm's locked_vm is not what its VM_LOCKED VMAs have.",
    FindingClass.MM_COUNTER_MISMATCH: "An mm does not count the VMAs or the page tables that it "
    "has.",
    FindingClass.HUGETLB_POOL_MISMATCH: "A pool of huge pages does not count what is there.",
    FindingClass.RSS_MISMATCH: "An mm's rss counters are not what its page tables map.",
    FindingClass.IN_FLIGHT: "Not a bug: a CPU was inside this mm's page tables.",
}


def lines(result: AuditResult) -> Iterator[str]:
    """Yield the result as text. Findings must be in order of class."""
    yield from wrapped(
        f"{result.kernel_release}: {result.pages:,} pages, {result.mms:,} mms, "
        f"{result.ptes:,} PTEs ({result.seconds:.2f} s)",
        "",
        "  ",
    )
    for cls, group in groupby(result.findings, lambda finding: finding.cls):
        yield from _class_lines(cls, list(group))
    if not result.findings:
        yield "no finding: every page table and every counter agree"
    if result.unseen:
        yield ""
        yield "not seen:"
    for gap in result.unseen:
        yield from wrapped(f"{gap.count:,} {gap.what}", "  ", "    ")


def causes(findings: list[Finding]) -> list[list[Finding]]:
    """Return findings of one class by what they share: owner, VMA, kind, counters; the most first.

    One bug in one zap makes one cause of its hundred pages.
    """
    alike: dict[Hashable, list[Finding]] = {}
    for finding in findings:
        alike.setdefault(_cause(finding), []).append(finding)
    return sorted(alike.values(), key=len, reverse=True)


def _cause(finding: Finding) -> Hashable:
    folio = finding.folio or {}
    who = tuple(
        (owner.pid, owner.comm, owner.mm, (owner.vma or "").partition(" ")[0])
        for owner in finding.mappings[:SHOWN_MAPPINGS]
    )
    counters = (finding.ptes, finding.mapcount, finding.refcount, len(finding.mappings))
    return who, counters, folio.get("kind"), folio.get("order"), finding.note


def _class_lines(cls: FindingClass, findings: list[Finding]) -> Iterator[str]:
    groups = causes(findings)
    of = f" of {len(groups):,} causes" if 1 < len(groups) < len(findings) else ""
    yield ""
    yield f"{cls.value}: {len(findings):,}{of}"
    yield from wrapped(MEANING[cls], "  ", "  ")
    for group in groups[:SHOWN_PER_CLASS]:
        yield ""
        yield from finding_lines(group[0])
        yield from _alike(group[1:])
    hidden = sum(len(group) for group in groups[SHOWN_PER_CLASS:])
    if hidden:
        yield ""
        yield f"  and {hidden:,} more: --json has them all"


def _alike(findings: list[Finding]) -> Iterator[str]:
    """Those that differ from the finding above in their page only."""
    if not findings:
        return
    pages = [finding.pfn for finding in findings if finding.pfn is not None]
    named = ", ".join(f"{pfn:#x}" for pfn in pages[:SHOWN_ALIKE])
    more = f" ... ({len(pages) - SHOWN_ALIKE:,} more)" if len(pages) > SHOWN_ALIKE else ""
    yield from labelled(f"{len(findings):,} alike", f"{named}{more}" if named else "")


def finding_lines(finding: Finding, *, beside: bool = True) -> Iterator[str]:
    """Yield the lines of one finding; `beside`: with the pages around it."""
    if finding.pfn is None:
        yield from _mm_lines(finding)
        return
    yield from wrapped(_headline(finding), "  ", "    ")
    if finding.flags:
        yield from labelled("flags", "|".join(finding.flags))
    for owner in islice(finding.mappings, SHOWN_MAPPINGS):
        yield from labelled("mapping", owner_text(owner))
    if len(finding.mappings) > SHOWN_MAPPINGS:
        yield from labelled("", f"and {len(finding.mappings) - SHOWN_MAPPINGS} more")
    if finding.note:
        yield from labelled("note", finding.note)
    around = (finding.folio or {}).get("neighbours") or []
    if beside and around:
        yield from _around(finding, around)


def _mm_lines(finding: Finding) -> Iterator[str]:
    """Yield the lines of one finding about an mm: whose it is, and its counters."""
    who = ", ".join(owner_text(owner) for owner in finding.mappings) or "no known task"
    yield from wrapped(f"{who}: {finding.note or 'its counters differ'}", "  ", "    ")


def _around(finding: Finding, pages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the page among its neighbours, as a table."""
    yield f"    {'beside it':12}pfn           kind             PTEs  mapcount  refcount"
    of = {
        "pfn": finding.pfn,
        "kind": (finding.folio or {}).get("kind"),
        "ptes": finding.ptes,
        "mapcount": finding.mapcount,
        "refcount": finding.refcount,
    }
    for page in sorted([*pages, of], key=lambda page: page["pfn"]):
        mark = ">" if page is of else " "
        kind = "this page" if page["kind"] in (None, "other") else page["kind"]
        yield (
            f"              {mark} {page['pfn']:<#13x} {kind:14.14} "
            f"{number(page['ptes']):>6}  {number(page['mapcount']):>8}  "
            f"{number(page['refcount']):>8}"
        )


def _headline(finding: Finding) -> str:
    folio = finding.folio or {}
    kind = f", {folio['kind']}" if folio.get("kind") not in (None, "other") else ""
    order = ""
    if folio.get("order"):
        order = f", folio {folio['pfn']:#x} of order {folio['order']}"
    return (
        f"pfn {finding.pfn or 0:#x}: {number(finding.ptes)} PTEs, mapcount "
        f"{number(finding.mapcount)}, refcount {number(finding.refcount)}{kind}{order}"
    )


def owner_text(owner: Owner) -> str:
    """Who, where, in which VMA."""
    who = "no known task" if owner.pid is None else task(owner.comm, owner.pid)
    where = "" if owner.address is None else f" at {owner.address:#x}"
    area = f" in {owner.vma}" if owner.vma else ""
    return f"{who}{where}{area}"


def number(value: int | None) -> str:
    """Return a count, or a dash for none."""
    return "-" if value is None else f"{value:,}"


def labelled(label: str, text: str) -> list[str]:
    """Return a label with text beside it."""
    return wrapped(text, f"    {label:12}" if label else " " * 16, " " * 16)


def wrapped(text: str, first: str, rest: str) -> list[str]:
    """Return `text` in lines of at most 80 columns."""
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest)
