"""Rows on "Bad page state": a page that the allocator refused (bad_page(), mm/page_alloc.c)."""

from __future__ import annotations

import re
from collections.abc import Callable

from zaptrace.model.splats import Splat
from zaptrace.triage.console import Console
from zaptrace.triage.dump import below_zero, checked_flags, failing, page_type
from zaptrace.triage.raw_words import word
from zaptrace.triage.row import Candidate, Row, Sign, each
from zaptrace.triage.signs import (
    FOREIGN_MODULES,
    IN_MODULE,
    MANY_PAGES,
    MAPCOUNT_BELOW_0,
    NO_PAGE_POOL,
    PFN_0,
    calls,
    deferred,
    not_,
    way_is,
)
from zaptrace.triage.stacks import Way, read_stack

_ZAP = r"\w*zap_\w+|unmap_(?:page_range|single_vma|vmas|region)|exit_mmap|tlb_\w+"
_IO_FLAGS = ("writeback", "locked", "lru", "private", "private_2", "active", "unevictable")
_LARGE = re.compile(
    r"nonzero (?:compound_mapcount|entire_mapcount|large_mapcount|_?nr_pages_mapped"
    r"|_?pincount|_?mm_id\w*|_?large\w*)|on deferred list"
)
_TAIL = re.compile(
    r"corrupted mapping in tail page|PageTail not set|compound_head not consistent"
    r"|page does not match folio|nr_pages - 1\) != folio|PageTail\(|tail page"
)
_MAPPINGS = {
    0: "a struct address_space (file, or swap cache)",
    1: "an anon_vma",
    2: "a movable page's operations",
    3: "a KSM node",
}

Observe = Callable[[Splat, Console], "str | None"]


def _refused(observe: Callable[[Splat], str | None]) -> Observe:
    """Ask it of refused pages only."""
    return lambda splat, _console: observe(splat) if splat.kind == "bad_page_state" else None


def _counted(splat: Splat) -> bool:
    return page_type(splat) is None and (splat.mapcount or 0) > 0


def _several(splat: Splat) -> str | None:
    checks = failing(splat)
    if len(checks) < 2:
        return None
    texts = "; ".join(f"{check.reason} ({check.because})" for check in checks)
    return f"Several checks fail, and the kernel prints the last of them only: {texts}."


def _not_any_more(splat: Splat) -> str | None:
    """Return a sentence when the dump no longer shows the value that page_bad_reason() saw."""
    reason = (splat.reason or "").replace("nonzero _count", "nonzero _refcount")
    shown = {
        "nonzero mapcount": splat.mapcount,
        "nonzero _refcount": splat.refcount,
    }
    if reason not in shown or shown[reason] != 0 or page_type(splat) or splat.folio:
        return None
    return f"The page was refused for {reason}, and its dump shows 0: it changed in between."


def _mapped(splat: Splat) -> str | None:
    if not _counted(splat) or read_stack(splat.trace).way is not Way.FREE:
        return None
    return "A page was freed while its mapcount said that it was mapped."


def _mapped_later(splat: Splat) -> str | None:
    way = read_stack(splat.trace).way
    if not _counted(splat) or way is Way.FREE:
        return None
    where = {
        Way.ALLOC: "it was looked at as it was allocated",
        Way.DRAIN: "it was looked at as a CPU's free list was drained",
    }
    how = where.get(way, "the report does not say how it was met")
    return f"The allocator refused a page whose mapcount says that it is mapped; {how}."


def _below_zero(splat: Splat) -> str | None:
    below = below_zero(splat)
    if below is None or "reserved" in splat.flags:
        return None
    return f"The allocator met a page that counts fewer mappings than none ({below})."


def _buddy(splat: Splat) -> str | None:
    if page_type(splat) != "buddy":
        return None
    return "The page's type says that it is on the buddy allocator's free list."


def _refcount(splat: Splat) -> str | None:
    if splat.folio or not splat.refcount:
        return None
    return f"The allocator met a page whose refcount is {_sign(splat.refcount)} 0."


def _sign(value: int) -> str:
    return "below" if value < 0 else "above"


def _reserved(splat: Splat) -> str | None:
    if "reserved" not in splat.flags:
        return None
    return "The page is reserved: the allocator takes no such page back."


def _mlocked(splat: Splat) -> str | None:
    return "A free page is still mlocked." if "mlocked" in splat.flags else None


def _in_use(splat: Splat) -> str | None:
    flags = [flag for flag in checked_flags(splat) if flag in _IO_FLAGS]
    if not flags or "reserved" in splat.flags:
        return None
    return f"A free page has flags of one in use: {'|'.join(flags)}."


def _table(splat: Splat) -> str | None:
    if page_type(splat) not in ("table", "kmemcg or table", "table or guard"):
        return None
    return f"The page's type ({page_type(splat)}) is, or may be, that of a page table."


def _mapping(splat: Splat) -> str | None:
    checks = [check for check in failing(splat) if check.reason == "non-NULL mapping"]
    if not checks and splat.reason != "non-NULL mapping":
        return None
    raw = word(splat, "mapping")
    whose = f" ({splat.aops})" if splat.aops else ""
    if not raw:
        return f"A free page has a mapping{whose}."
    return f"A free page has a mapping, whose low bits say: {_MAPPINGS[raw & 3]}{whose}."


def _of_file(splat: Splat, _console: Console) -> bool:
    return splat.aops is not None


def _tail(splat: Splat, _console: Console) -> str | None:
    if not _TAIL.search(splat.reason or ""):
        return None
    return "A tail page of a large folio is not as the folio's head says."


def _large(splat: Splat, _console: Console) -> str | None:
    folio = splat.folio
    if splat.kind == "bad_page_state" and _LARGE.search(splat.reason or ""):
        return "A large folio was freed and one of its counters is not 0."
    if folio is None:
        return None
    mapped, order = folio.nr_pages_mapped or 0, folio.order
    # ENTIRELY_MAPPED is 0x800000 above the pages that PTEs map; it may be there once.
    many = order is not None and mapped & 0x7FFFFF > 1 << order
    if mapped < 0 or many or any((one or 0) < 0 for one in (folio.mapcount, folio.entire_mapcount)):
        return "A large folio's counters cannot be right."
    return None


def _memcg(splat: Splat) -> str | None:
    if splat.reason != "page still charged to cgroup" and not splat.memcg:
        return None
    return "A free page is still charged to a memory cgroup."


def _no_pointer(splat: Splat, _console: Console) -> bool:
    """Return whether memcg is no kernel pointer: on all architectures with memory cgroups its upper
    half is set."""
    return splat.memcg is not None and splat.memcg < 1 << 32


def _page_pool(splat: Splat) -> str | None:
    reasons = (splat.reason, *(check.reason for check in failing(splat)))
    return "The kernel took the page for a page_pool's." if "page_pool leak" in reasons else None


def _detector(splat: Splat, console: Console) -> str | None:
    if splat.kind != "bad_page_state":
        return None
    reading = read_stack(splat.trace)
    if reading.way is Way.ALLOC:
        return (
            "The stack is that of an allocation which met the page, not of the task that freed it "
            f"or still uses it ({', '.join(reading.steps[:3])})."
        )
    if reading.way is not Way.DRAIN:
        return None
    return (
        "The stack is that of a CPU's free list being drained, not of the task that freed the "
        f"page ({', '.join(reading.steps[:3])})."
    )


_FREES = Sign(1, "the stack is that of the free", way_is(Way.FREE))
_IN_ZAP = Sign(2, "the stack goes through a zap", calls(_ZAP))
_NOT_IN_ZAP = Sign(-2, "the stack goes through no zap", not_(calls(_ZAP)))
_PUT_OFF = Sign(1, "an interrupt, or work that was put off, stands in the call trace", deferred)

_WRITTEN = Candidate("its struct page was overwritten by other code", 1, (MANY_PAGES,))
_STILL_USED = "it was freed while still in use (one reference too few, or one put too many)"
_CHECK_AT_ONCE = "on kernels up to 6.2: debug_pagealloc=on or CONFIG_DEBUG_VM checks frees at once"

ROWS = (
    Row(
        name="mapped_when_freed",
        title="freed while its mapcount says that it is mapped",
        sees=each(_refused(_mapped)),
        causes=(
            Candidate(
                "a zap gave it away before it removed its rmap", 2, (_IN_ZAP, _NOT_IN_ZAP, _FREES)
            ),
            Candidate("a PTE was cleared and its rmap never removed", 2, (_IN_ZAP,)),
            Candidate("a reference that was not the dropper's own: a PTE still maps it", 1),
            _WRITTEN,
        ),
        measure=(
            "zaptrace repro ARCH --kernel-tree TREE: the order of the free and the rmap removal",
            "a dump, and zaptrace inspect VMCORE --vmlinux VMLINUX: does a PTE still map it?",
        ),
        source="lkml, July 2023, batch zap of anonymous folios; free_page_is_bad()",
    ),
    Row(
        name="below_zero_when_freed",
        title="free, with a mapcount below 0",
        sees=each(_refused(_below_zero)),
        causes=(
            Candidate("its rmap was removed more often than it was added", 2, (_IN_ZAP,)),
            Candidate("it was mapped without an rmap being added, and unmapped as usual", 1),
            _WRITTEN,
        ),
        measure=(
            'is there a "Bad page map" on the same page before?',
            "zaptrace repro ARCH --kernel-tree TREE: each rmap removal, with its zap",
        ),
        source="free_page_is_bad(), mm/page_alloc.c; zap_pte_range(), mm/memory.c",
    ),
    Row(
        name="mapped_on_free_list",
        title="refused, and counted as mapped",
        sees=each(_refused(_mapped_later)),
        causes=(
            Candidate("it was freed while it was mapped", 2),
            Candidate("it was mapped after it had been freed: use after free", 1),
            _WRITTEN,
        ),
        measure=(
            "boot with page_owner=on: the stack of the last free",
            _CHECK_AT_ONCE,
        ),
        source='"mm, page_alloc: reduce page alloc/free sanity checks" (700d2e9a36b9, v6.3)',
    ),
    Row(
        name="detector",
        title="the stack is the detector's",
        sees=each(_detector),
        causes=(),
        measure=(
            "boot with page_owner=on: the stack of the last free",
            _CHECK_AT_ONCE,
        ),
        source="check_pcp_refill(), bulkfree_pcp_prepare(), up to v6.2; check_new_pages()",
    ),
    Row(
        name="on_free_list",
        title="already on the buddy allocator's free list",
        sees=each(_refused(_buddy)),
        causes=(
            Candidate("it was freed twice", 2, (_FREES,)),
            Candidate("a race in the buddy allocator (isolation, compaction, hotplug)", 1),
        ),
        measure=(
            "boot with page_owner=on: the stack of the last free",
            "debug_pagealloc=on: the second user faults at once",
        ),
        source="d24c790577ef, 462a8e08e0e6",
    ),
    Row(
        name="refcount",
        title="a free page whose refcount is not 0",
        sees=each(_refused(_refcount)),
        causes=(
            Candidate(
                "a reference was dropped twice",
                1,
                (Sign(3, "the refcount is below 0", lambda one, _: (one.refcount or 0) < 0),),
            ),
            Candidate(
                "it was given to the allocator by what does not look at the count, and still held",
                0,
                (
                    Sign(2, "the refcount is above 0", lambda one, _: (one.refcount or 0) > 0),
                    Sign(2, "the stack is that of the free", way_is(Way.FREE)),
                ),
            ),
            Candidate(
                "a reference was taken to a page that was free: use after free",
                1,
                (Sign(2, "the refcount is above 0", lambda one, _: (one.refcount or 0) > 0),),
            ),
            _WRITTEN,
        ),
        measure=(
            "boot with page_owner=on",
            "CONFIG_DEBUG_PAGE_REF: the page_ref tracepoints, filtered by this pfn",
        ),
        source="3fe2895cfecd (the method); mptcp issue 259",
    ),
    Row(
        name="reserved",
        title="a reserved page",
        sees=each(_refused(_reserved)),
        causes=(
            Candidate(
                "the shared zero page, put without a get (uprobes, direct IO)",
                2,
                (MAPCOUNT_BELOW_0,),
            ),
            Candidate(
                "another page that a driver or the firmware reserved, freed by mistake",
                2,
                (FOREIGN_MODULES, IN_MODULE),
            ),
            Candidate("an entry of 0 was taken for that of a page or a table", 0, (PFN_0,)),
            Candidate("a flag that was set in memory", 0, (MANY_PAGES,)),
        ),
        measure=("compare the pfn with that of the kernel's zero page (zero_pfn) in a dump",),
        source="bddf10d26e6e; 3ba5eebc40a9; openzfs issue 16594, PR 16812",
    ),
    Row(
        name="mlocked",
        title="mlocked when it was freed",
        sees=each(_refused(_mlocked)),
        causes=(
            Candidate(
                "a driver's page, mapped to user space, mlocked there, freed by free_page()",
                2,
                (FOREIGN_MODULES, IN_MODULE),
            ),
            Candidate("munlock was missed on the way out", 1, (_IN_ZAP,)),
        ),
        measure=("boot with page_owner=on: who allocated it (kvm, a driver)",),
        source="66edc3a5894c",
    ),
    Row(
        name="in_use_flags",
        title="free, with flags of a page in use",
        sees=each(_refused(_in_use)),
        causes=(
            Candidate(
                "the last reference was dropped while IO, the LRU or a file system held the page",
                2,
                (FOREIGN_MODULES, IN_MODULE, _PUT_OFF),
            ),
            Candidate(_STILL_USED, 1),
            Candidate("a flag that was set in memory", 0, (MANY_PAGES,)),
        ),
        measure=(
            "the innermost module or file system in the stack: reproduce without it",
            "boot with page_owner=on",
        ),
        source="PAGE_FLAGS_CHECK_AT_FREE, include/linux/page-flags.h; openzfs issue 3075",
    ),
    Row(
        name="page_table",
        title="a page table",
        sees=each(_refused(_table)),
        causes=(
            Candidate("a page table was freed while it was shared or pinned (hugetlb PMDs)", 2),
            Candidate("a page table's destructor was not called before the free", 1),
        ),
        measure=("is hugetlb PMD sharing in use?  which pfn walkers (compaction, hwpoison) run?",),
        source="59d9094df3d7",
    ),
    Row(
        name="mapping",
        title="free, with a mapping",
        sees=each(_refused(_mapping)),
        causes=(
            Candidate(
                "it is still in the page cache or the swap cache",
                2,
                (Sign(1, "the dump names its file system", _of_file),),
            ),
            Candidate(
                "a stale anonymous mapping (migration of device memory)",
                1,
                (Sign(-2, "the dump names its file system", _of_file),),
            ),
            _WRITTEN,
        ),
        measure=("look its index up in the cache that the mapping names (a dump, drgn)",),
        source="page_bad_reason(), mm/page_alloc.c",
    ),
    Row(
        name="tail_page",
        title="a tail page does not fit its folio",
        sees=each(_tail),
        causes=(
            Candidate(
                "tail struct pages were rewritten (hugetlb vmemmap optimisation, a split)", 2
            ),
            Candidate("a wild write into the array of struct pages", 1),
            Candidate("a page that is not the folio's was passed on", 1),
        ),
        measure=(
            "boot with hugetlb_free_vmemmap=off as a control",
            "a dump: the neighbouring struct pages",
        ),
        source="free_tail_page_prepare(), mm/page_alloc.c; __folio_rmap_sanity_checks()",
    ),
    Row(
        name="large_folio_counters",
        title="a large folio's counters do not fit",
        sees=each(_large),
        causes=(
            Candidate("mappings of a large folio were added and removed unevenly", 2),
            Candidate("its struct pages were overwritten", 1),
        ),
        measure=(
            "transparent_hugepage=never as a control",
            "a dump, and zaptrace inspect: its PMD and PTE maps against its counters",
        ),
        source="free_tail_page_prepare(), mm/page_alloc.c (v6.12)",
    ),
    Row(
        name="memcg",
        title="still charged to a cgroup",
        sees=each(_refused(_memcg)),
        causes=(
            Candidate(
                "an uncharge is missing on one way out",
                2,
                (Sign(-3, "memcg_data is no kernel address", _no_pointer),),
            ),
            Candidate(
                "memcg_data was overwritten",
                1,
                (Sign(3, "memcg_data is no kernel address", _no_pointer),),
            ),
        ),
        measure=(
            "is the memcg value a sane kernel address?",
            "was memory poisoned by hwpoison or hotplug before?",
        ),
        source="18365225f044; raspberrypi/linux issue 1118",
    ),
    Row(
        name="page_pool",
        title="a page_pool's page",
        sees=each(_refused(_page_pool)),
        causes=(
            Candidate(
                "a network driver, or xfrm, dropped a page_pool page by put_page()",
                2,
                (FOREIGN_MODULES, IN_MODULE),
            ),
            Candidate("a false alarm: on 32 bits a pointer may pass", 0, (NO_PAGE_POOL,)),
        ),
        measure=("which network driver, and is xfrm (IPsec) configured?",),
        source="c3198822c6cb; 95920c2ed02b",
    ),
    Row(
        name="several_checks",
        title="more checks fail than the kernel prints",
        sees=each(_refused(_several)),
        causes=(
            Candidate("one fault that shows in several fields: judge them all", 2),
            Candidate("its struct page was overwritten as a whole", 1),
        ),
        measure=("read the dump's other fields; the printed reason may be the least of them",),
        source="page_bad_reason(), mm/page_alloc.c: the last failing check is printed",
    ),
    Row(
        name="changed_meanwhile",
        title="the dump no longer shows what was refused",
        sees=each(_refused(_not_any_more)),
        causes=(
            Candidate("another CPU still changes the page: it is in use", 2),
            Candidate("a field that the dump does not print as it was checked", 1),
        ),
        measure=("boot with page_owner=on: who allocated it, who freed it last",),
        source="bad_page() dumps after page_bad_reason() has looked, mm/page_alloc.c",
    ),
)
