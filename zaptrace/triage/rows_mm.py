"""Rows on mms and what else the mm code checks: swap entries, counters, page cache, assertions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from zaptrace.model.splats import Splat
from zaptrace.splat.kinds import from_mm
from zaptrace.triage.console import Console
from zaptrace.triage.dump import at_allocation, checked_flags
from zaptrace.triage.row import Candidate, Row, Seen, Sign, each
from zaptrace.triage.signs import (
    FOREIGN_MODULES,
    IN_MODULE,
    MANY_PAGES,
    calls,
    reader,
    several_pages,
    unreferenced,
)
from zaptrace.triage.stacks import check_site


def _swap(splat: Splat, _console: Console) -> str | None:
    if splat.kind != "bad_swap_entry":
        return None
    unused = (splat.reason or "").startswith("Unused")
    what = "is not in use" if unused else "names no swap area, or no place in it"
    return f"A swap entry was used that {what}."


def _rss(console: Console) -> Iterator[Seen]:
    found: dict[tuple[str, bool], list[Splat]] = {}
    for splat in console.splats:
        if splat.kind == "bad_rss_counter" and splat.rss_type and splat.rss_value:
            found.setdefault((splat.rss_type, splat.rss_value > 0), []).append(splat)
    for (counter, above), splats in found.items():
        values = sorted({splat.rss_value or 0 for splat in splats})
        texts = ", ".join(f"{value:+d}" for value in values[:4])
        how = "more pages than it unmapped" if above else "fewer pages than it unmapped"
        yield Seen(f"An mm ended with {counter} {texts}: it counted {how}.", tuple(splats))


def _rss_is(counter: str, sign: int) -> Sign:
    return Sign(
        3,
        f"the counter is {counter}, {'above' if sign > 0 else 'below'} 0",
        lambda splat, _: splat.rss_type == counter and (splat.rss_value or 0) * sign > 0,
    )


_LOSE_PAGES = ("bad_page_state", "bad_page_map", "bad_page_table", "bad_swap_entry")


def _after_pages(splat: Splat, console: Console) -> bool:
    return console.reported_before(splat, *_LOSE_PAGES)


def _after_tables(splat: Splat, console: Console) -> bool:
    return console.reported_before(splat, "bad_page_table")


_LEFT = re.compile(r"on freeing mm: (-?[0-9]{1,20})")


def _left(splat: Splat) -> int:
    """Return what an mm still counted of page tables when it ended: bytes, before 4.15 tables."""
    found = _LEFT.search(splat.reason or "")
    return int(found[1]) if found else 0


def _tables_left(splat: Splat, _console: Console) -> str | None:
    if splat.kind != "nonzero_page_tables":
        return None
    left = _left(splat)
    if left < 0:
        unit = "bytes" if "_bytes" in (splat.reason or "") else "tables"
        return f"An mm ended with {left} {unit} of page tables: it gave back more than it counted."
    return "An mm ended with page tables that it had not given back, by its count."


def _page_cache(splat: Splat, _console: Console) -> str | None:
    if splat.kind != "bad_page_cache":
        return None
    whose = f" ({splat.aops})" if splat.aops else ""
    return f"A page left the page cache while it was still mapped{whose}."


def _check(splat: Splat, _console: Console) -> str | None:
    if splat.kind != "page_table_check":
        return None
    return "The page-table check stopped a map, or a free, that does not fit the page's maps."


def _reader(splat: Splat, console: Console) -> str | None:
    if splat.kind not in ("vm_bug_on", "vm_warn_on", "other") or not reader(splat, console):
        return None
    if splat.kind == "other" and splat.pfn is None:
        return None
    return "A reader of pages that takes no lock or reference met the page as it changed."


def _no_reference(splat: Splat, _console: Console) -> str | None:
    how = unreferenced(splat)
    if how is None:
        return None
    return f"A reference was {how} of a page that had none: it was free, or on its way."


def _failed(splat: Splat, console: Console) -> str | None:
    checks = splat.kind in ("vm_bug_on", "vm_warn_on")
    checks |= splat.kind == "other" and from_mm(splat) and splat.pfn is None
    others = (reader, _request, _no_reference)
    if not checks or any(says(splat, console) for says in others):
        return None
    return "A check of the mm code failed: what it was given is not as it must be."


_REQUEST = re.compile(
    r"__alloc_(?:frozen_)?pages\w*|get_page_from_freelist|rmqueue\w*|page_alloc_\w+"
)


def _request(splat: Splat, _console: Console) -> str | None:
    """Return that the allocator warned of a request: no page is wrong."""
    reason = splat.reason or ""
    of_request = _REQUEST.fullmatch(check_site(splat) or "")
    if not (reason.startswith("WARNING") and "mm/page_alloc.c:" in reason and of_request):
        return None
    return "The allocator warned of a request for pages, not of a page."


def _slab(splat: Splat, _console: Console) -> str | None:
    if splat.kind != "bad_page_state" or "slab" not in checked_flags(splat):
        return None
    if at_allocation(splat):
        return None
    return "A page of the slab allocator was given to the page allocator."


ROWS = (
    Row(
        name="slab",
        title="a slab page, freed as a page",
        sees=each(_slab),
        causes=(
            Candidate(
                "memory of kmalloc() was freed with put_page() or free_pages(): a fragment of a "
                "packet, an entry of a scatterlist",
                2,
                (
                    Sign(
                        2,
                        "the stack goes through the network's buffers",
                        calls(r"\w*skb_\w+|page_frag_\w+|sg_\w+|sendpage\w*|tcp_\w+"),
                    ),
                    IN_MODULE,
                ),
            ),
            Candidate("a reference was dropped by something that did not hold it", 1),
            Candidate("its struct page was overwritten by other code", 0, (MANY_PAGES,)),
        ),
        measure=(
            "who made the buffer: the driver or protocol below kfree_skb() or put_page()",
            "boot with slub_debug=FZPU, or a kernel with KASAN",
        ),
        source="PAGE_FLAGS_CHECK_AT_FREE, include/linux/page-flags.h; sendpage_ok()",
    ),
    Row(
        name="request",
        title="a request that the allocator does not serve",
        sees=each(_request),
        causes=(
            Candidate(
                "more pages at once than there can be (order above MAX_PAGE_ORDER), often a size "
                "that user space gave",
                2,
            ),
            Candidate(
                "__GFP_NOFAIL for more than two pages at once",
                1,
                (Sign(2, "it is not at the entry", calls(r"get_page_from_freelist|rmqueue\w*")),),
            ),
        ),
        measure=(
            "the first frame outside of the allocator asks: where does its size come from?",
            "kvmalloc(), an upper bound, or __GFP_NOWARN there",
        ),
        source="__alloc_frozen_pages_noprof(), rmqueue(), mm/page_alloc.c",
    ),
    Row(
        name="swap_entry",
        title="a swap entry that cannot be",
        sees=each(_swap),
        causes=(
            Candidate("the PTE is no swap entry: its page table was overwritten", 2),
            Candidate("a weak bit of memory in the page table", 2),
            Candidate("the entry was freed twice, or by a swapoff that raced", 1),
        ),
        measure=(
            "swapon --show: how many areas, how large: is the entry's type or offset possible?",
            "one bit set alone is an empty PTE with a flipped bit: memtest86+",
        ),
        source="_swap_info_get(), get_swap_device(), mm/swapfile.c",
    ),
    Row(
        name="rss_counter",
        title="an mm's resident-set counter is off at its end",
        sees=_rss,
        causes=(
            Candidate(
                "pages went without being un-accounted: a mapping was leaked",
                1,
                (_rss_is("MM_ANONPAGES", 1),),
            ),
            Candidate(
                "something was taken down that had never been counted (zero page, uprobes)",
                1,
                (_rss_is("MM_FILEPAGES", -1),),
            ),
            Candidate(
                "it follows from bad pages or page tables",
                1,
                (Sign(4, "the log reports some before it", _after_pages),),
            ),
            Candidate("anon and file were confused when one was counted", 1),
        ),
        measure=(
            "does the amount repeat?  are uprobes, KSM or mremap() in use?",
            "zaptrace inspect of a dump: counters against page tables, mm by mm",
        ),
        source="check_mm(), kernel/fork.c; 2b12d06c37fd; a38c015f3156; bddf10d26e6e",
    ),
    Row(
        name="page_tables_left",
        title="page tables are counted when their mm ends",
        sees=each(_tables_left),
        causes=(
            Candidate(
                "a page table was leaked",
                2,
                (Sign(-2, "the count is below 0", lambda splat, _: _left(splat) < 0),),
            ),
            Candidate(
                "a page table was freed twice, was of another mm, or was none at all",
                1,
                (Sign(2, "the count is below 0", lambda splat, _: _left(splat) < 0),),
            ),
            Candidate("the counter alone is wrong (mm->pgtables_bytes)", 1),
            Candidate(
                "it follows from a bad page table",
                0,
                (Sign(3, "the log reports one before it", _after_tables),),
            ),
        ),
        measure=("zaptrace inspect of a dump, before the mm ends",),
        source="check_mm(), kernel/fork.c",
    ),
    Row(
        name="page_cache",
        title="still mapped when it left the page cache",
        sees=each(_page_cache),
        causes=(
            Candidate("truncation raced with a fault or a migration", 2),
            Candidate(
                "its mapcount is one too high: an rmap was never removed",
                1,
                (Sign(1, "the mapcount is 1", lambda splat, _: splat.mapcount == 1),),
            ),
        ),
        measure=("mapcount above 1?  does another mm map it (zaptrace inspect --pfn)?",),
        source="filemap_unaccount_folio(), mm/filemap.c; 22061a1ffabd",
    ),
    Row(
        name="page_table_check",
        title="the page-table check found a wrong map or free",
        sees=each(_check),
        causes=(
            Candidate(
                "a page was freed while a PTE maps it",
                2,
                (
                    Sign(
                        2,
                        "the stack is that of a free",
                        calls(r"\w*page_table_check_zero\w*|free_\w+"),
                    ),
                ),
            ),
            Candidate(
                "one page is mapped both as anonymous and as file memory",
                1,
                (
                    Sign(
                        2,
                        "the stack is that of a map",
                        calls(r"\w*page_table_check_set\w*|set_pte\w*"),
                    ),
                ),
            ),
            Candidate("a false alarm on device memory", 0),
        ),
        measure=("the frame outside of the check is the map or free at fault",),
        source="mm/page_table_check.c; CVE-2024-40948 for ZONE_DEVICE",
    ),
    Row(
        name="lockless_reader",
        title="met by a reader that takes no lock",
        sees=each(_reader),
        causes=(
            Candidate("a benign race: the reader looked at a page that changed", 2),
            Candidate("a page in a bad state", 1, (Sign(1, "several pages", several_pages),)),
        ),
        measure=("does anything else of the log say that a page is wrong?",),
        source="6988f31d558a",
    ),
    Row(
        name="no_reference",
        title="a reference of a page that has none",
        sees=each(_no_reference),
        causes=(
            Candidate(
                "this one was dropped twice: here, or by who dropped it before",
                1,
                (
                    Sign(2, "it was being dropped", lambda one, _: unreferenced(one) == "dropped"),
                    FOREIGN_MODULES,
                    IN_MODULE,
                ),
            ),
            Candidate(
                "the page was kept without a reference, or looked up without one, and freed "
                "meanwhile",
                1,
                (
                    Sign(2, "it was being taken", lambda one, _: unreferenced(one) == "taken"),
                    FOREIGN_MODULES,
                    IN_MODULE,
                ),
            ),
            Candidate("someone else dropped one too many before: an earlier bug", 1),
            Candidate("its struct page was overwritten", 0),
        ),
        measure=(
            "boot with page_owner=on: the dump then says who freed it last",
            "CONFIG_DEBUG_PAGE_REF: the page_ref tracepoints, filtered by this pfn",
        ),
        source="put_page_testzero(), folio_get(), include/linux/mm.h; f958d7b528b1",
    ),
    Row(
        name="failed_check",
        title="a check of the mm code failed",
        sees=each(_failed),
        causes=(
            Candidate(
                "the caller passed a page, folio or VMA that does not fit (also by a race)",
                2,
                (FOREIGN_MODULES, IN_MODULE),
            ),
            Candidate("the page's state was wrong before: an earlier bug", 1),
            Candidate("its struct page was overwritten", 0),
        ),
        measure=(
            "the first frame outside of the check",
            "the condition: the dump, or that line of the source, has it",
        ),
        source="VM_BUG_ON_*(), VM_WARN_ON_*(), include/linux/mmdebug.h",
    ),
)
