"""Each row of the decision table: a log that shows it, its likeliest cause, a log that does not."""

from __future__ import annotations

import pytest

from tests.unit.triage.builders import ALLOCATED, DRAINED, FREED, Dump, bad_map, log
from tests.unit.triage.case import Case, found
from tests.unit.triage.cases_of_oopses import CASES_OF_OOPSES
from zaptrace.model.clues import Clue
from zaptrace.triage import ROWS, BootFacts

TEXT = int.from_bytes(b"HTTP/1.1", "little")
PP = 0xDEAD000000000040
ANON = 0xFFFF888100000001


def dumped(mapcount: int) -> list[str]:
    """A VM_WARN_ON_FOLIO() with its dump."""
    return [
        f"page: refcount:4 mapcount:{mapcount} mapping:0000000000000000 index:0x3 pfn:0x2a5f1",
        "page dumped because: VM_WARN_ON_FOLIO(folio_test_large(folio))",
        "------------[ cut here ]------------",
        "WARNING: CPU: 7 PID: 8 at include/linux/rmap.h:199 __folio_rmap_sanity_checks+0x3c6/0x520",
        "---[ end trace 0000000000000000 ]---",
    ]


def warned(*lines: str) -> bytes:
    return log(list(lines))


BOOT = BootFacts("6.8.0", "quiet", "stack:all(zero), heap alloc:off, heap free:off", True)
SMALL = log(Dump(mapcount=1))
CASES = [
    *CASES_OF_OOPSES,
    Case(
        "same_bit",
        log(*(Dump(n, refcount=0x10000, reason="nonzero _refcount") for n in (1, 2))),
        "bit of the memory",
        log(Dump(refcount=0x10000), Dump(7, refcount=0x20000)),
    ),
    Case(
        "one_bit",
        log(
            Dump(
                memcg := 5, reason="page still charged to cgroup", extra=["memcg:0000000000010000"]
            )
        ),
        "bit of the memory",
        SMALL,
    ),
    Case(
        "text_in_page",
        log(Dump(mapcount=1, words={4: TEXT, 5: TEXT})),
        "overwritten",
        log(Dump(mapcount=1, words={4: 7})),
    ),
    Case(
        "repeated_bytes",
        log(Dump(mapcount=1, words={4: 0x1717171717171717})),
        "overwritten",
        log(Dump(mapcount=1, words={4: 0})),
    ),
    Case(
        "poison",
        log(Dump(mapcount=1, words={4: 0x6B6B6B6B6B6B6B6B})),
        "use after free",
        log(Dump(mapcount=1, words={4: 1})),
    ),
    Case("never_initialised", log(Dump(mapcount=0, raw=[0xFFFFFFFFFFFFFFFF] * 8)), "hole", SMALL),
    Case(
        "mapped_when_freed",
        log(
            Dump(
                mapcount=1,
                stack=(
                    "bad_page",
                    "free_pcp_prepare",
                    "free_unref_page",
                    "zap_pte_range",
                    "unmap_page_range",
                ),
            )
        ),
        "before it removed its rmap",
        log(Dump(mapcount=1, stack=ALLOCATED)),
    ),
    Case(
        "mapped_on_free_list",
        log(Dump(mapcount=1, stack=ALLOCATED)),
        "freed while it was mapped",
        SMALL,
    ),
    Case("detector", log(Dump(mapcount=1, stack=DRAINED)), None, SMALL),
    Case(
        "below_zero_when_freed",
        log(Dump(mapcount=-1)),
        "more often than it was added",
        log(Dump(mapcount=-1, flags="reserved|node=0")),
    ),
    Case(
        "on_free_list", log(Dump(mapcount=-128, stack=FREED)), "freed twice", log(Dump(mapcount=-1))
    ),
    Case("refcount", log(Dump(refcount=-1, reason="nonzero _refcount")), "dropped twice", SMALL),
    Case("reserved", log(Dump(mapcount=-1, flags="reserved|node=0")), "zero page", SMALL),
    Case(
        "mlocked",
        log(Dump(flags="mlocked|node=0", reason="PAGE_FLAGS_CHECK_AT_FREE flag(s) set")),
        "driver's page",
        SMALL,
    ),
    Case(
        "in_use_flags",
        log(Dump(flags="writeback|private|node=0", reason="PAGE_FLAGS_CHECK_AT_FREE flag(s) set")),
        "last reference",
        SMALL,
    ),
    Case(
        "slab",
        log(Dump(flags="slab|head|node=0", reason="PAGE_FLAGS_CHECK_AT_FREE flag(s) set")),
        "kmalloc",
        log(Dump(flags="slab|node=0", reason="PAGE_FLAGS_CHECK_AT_PREP flag(s) set")),
    ),
    Case(
        "request",
        warned(
            "WARNING: CPU: 3 PID: 8 at mm/page_alloc.c:5350 __alloc_pages+0x27e/0x3e0",
            "Call Trace:",
            " kmalloc_order+0x2a/0xb0",
        ),
        "more pages at once",
        warned(
            "WARNING: CPU: 3 PID: 8 at mm/page_alloc.c:5350 free_pcppages_bulk+0x27e/0x3e0",
            "Call Trace:",
            " kmalloc_order+0x2a/0xb0",
        ),
    ),
    Case("page_table", log(Dump(extra=["page_type: f2(table)"])), "shared or pinned", SMALL),
    Case(
        "mapping", log(Dump(mapping=0xFFFF888100000000, reason="non-NULL mapping")), "cache", SMALL
    ),
    Case("tail_page", log(Dump(reason="corrupted mapping in tail page")), "rewritten", SMALL),
    Case("large_folio_counters", log(Dump(reason="nonzero large_mapcount")), "unevenly", SMALL),
    Case(
        "memcg",
        log(Dump(reason="page still charged to cgroup", extra=["memcg:ffff888101234000"])),
        "uncharge is missing",
        SMALL,
    ),
    Case("page_pool", log(Dump(reason="page_pool leak")), "network driver", SMALL),
    Case(
        "several_checks",
        log(Dump(mapcount=1, refcount=-1, reason="nonzero _refcount")),
        "one fault",
        SMALL,
    ),
    Case("changed_meanwhile", log(Dump(mapcount=0)), "another CPU", SMALL),
    Case("mapcount_underflow", log(bad_map()), "twice in one zap", log(bad_map(mapcount=3))),
    Case(
        "mapped_less_than_never",
        log(Dump(mapcount=-1), dumped(-1)),
        "more often than it was added",
        log(Dump(mapcount=-1), dumped(0)),
    ),
    Case(
        "bad_pte_counted",
        log(Dump(0x123456, mapcount=1), bad_map(mapcount=0)),
        "just freed",
        log(bad_map()),
    ),
    Case(
        "pte_without_page",
        log(bad_map(pte=0x6353111100000000, mapcount=None)),
        "garbage",
        log(bad_map()),
    ),
    Case(
        "special_vma",
        log(bad_map(vm_flags=0x400, handlers="fault:0x0 mmap:nv_mmap")),
        "driver",
        log(bad_map()),
    ),
    Case(
        "special_vma",
        log(bad_map(handlers="fault:0x0 mmap:nv_mmap")),
        "driver",
        log(bad_map(handlers="fault:0x80134bb4 mmap:ext4_file_mmap.llvm.109587849811")),
    ),
    Case(
        "reserved_mapped",
        log(bad_map(flags="reserved|node=0", vm_flags=0x10000000)),
        "without an rmap",
        log(bad_map()),
    ),
    Case(
        "typed_page_mapped",
        log(bad_map(mapcount=0, flags="slab|node=0")),
        "driver maps",
        log(bad_map()),
    ),
    Case(
        "bad_table",
        warned("mm/pgtable-generic.c:33: bad pmd ffff882101234cd8(0000012c111001e2)"),
        "live huge mapping",
        SMALL,
    ),
    Case(
        "swap_entry",
        warned("get_swap_device: Bad swap file entry 2f0b0a0c0d0e0"),
        "overwritten",
        SMALL,
    ),
    Case(
        "rss_counter",
        warned("BUG: Bad rss-counter state mm:00000000aa11bb22 type:MM_ANONPAGES val:3"),
        "mapping was leaked",
        SMALL,
    ),
    Case(
        "page_tables_left",
        warned("BUG: non-zero pgtables_bytes on freeing mm: 4096"),
        "leaked",
        SMALL,
    ),
    Case(
        "page_cache",
        log(
            Dump(
                mapcount=2,
                reason="still mapped when deleted",
                head="BUG: Bad page cache in process worker  pfn:01234",
            )
        ),
        "truncation",
        SMALL,
    ),
    Case(
        "page_table_check",
        log(
            [
                "kernel BUG at mm/page_table_check.c:143!",
                "CPU: 8 PID: 3 Comm: init Not tainted 6.18.0 #1",
                "Call Trace:",
                " __page_table_check_zero+0xfb/0x130",
                " free_frozen_pages+0x1/0x2",
            ]
        ),
        "freed while a PTE maps it",
        SMALL,
    ),
    Case(
        "request",
        log(
            [
                "WARNING: CPU: 0 PID: 8 at mm/page_alloc.c:4744 __alloc_pages+0x2e8/0x3a0",
                "CPU: 0 PID: 8 Comm: dog Not tainted 6.4.0-test #1",
                "Call Trace:",
                " __alloc_pages+0x2e8/0x3a0",
                " __kmalloc_large_node+0xbc/0x160",
            ]
        ),
        "user space gave",
        SMALL,
    ),
    Case(
        "no_reference",
        log(
            [
                "page: refcount:0 mapcount:0 mapping:0000000000000000 index:0x1 pfn:0x1234",
                "flags: 0x17ffffc0000000(node=0|zone=1)",
                "page dumped because: VM_BUG_ON_PAGE(page_ref_count(page) == 0)",
                "------------[ cut here ]------------",
                "kernel BUG at include/linux/mm.h:1144!",
                "CPU: 1 PID: 7 Comm: worker Not tainted 6.8.0 #1",
                "RIP: 0010:put_it+0x1/0x2",
            ]
        ),
        "dropped twice",
        log(
            [
                "page: refcount:1 mapcount:0 mapping:0000000000000000 index:0x1 pfn:0x1234",
                "page dumped because: VM_BUG_ON_PAGE(page_ref_count(page))",
                "kernel BUG at mm/internal.h:96!",
            ]
        ),
    ),
    Case(
        "failed_check",
        log(
            ["WARNING: CPU: 0 PID: 8 at include/linux/rmap.h:414 folio_add_file_rmap_ptes+0x1/0x2"]
        ),
        "does not fit",
        SMALL,
    ),
    Case(
        "lockless_reader",
        log(
            [
                "WARNING: CPU: 0 PID: 826 at include/linux/mm.h:414 page_mapcount+0xa9/0x2ef",
                "CPU: 0 PID: 826 Comm: dog Not tainted 6.7.0-test #1",
                "Call Trace:",
                " kpagecount_read+0x1/0x2",
            ]
        ),
        "benign race",
        SMALL,
    ),
    Case(
        "same_page",
        log(Dump(9, mapcount=1), Dump(9, mapcount=1, task="other/8")),
        "weak",
        log(Dump(9, mapcount=1), bad_map(pfn=9, mapcount=0)),
    ),
    Case(
        "tainted_before",
        log(Dump(mapcount=1, taint="G    B")),
        None,
        log(Dump(mapcount=1), Dump(2, mapcount=1, taint="G    B")),
    ),
    Case(
        "out_of_tree",
        log(Dump(mapcount=1, taint="P           OE")),
        "those modules",
        log(Dump(mapcount=1, taint="G        W")),
    ),
    Case(
        "rate_limit",
        log(["BUG: Bad page state: 12 messages suppressed"], Dump(mapcount=1)),
        None,
        SMALL,
    ),
    Case("checks_off", log(bad_map()), None, SMALL, BOOT),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_a_row_sees_its_own_and_not_its_neighbours(case: Case) -> None:
    (clue, *_) = found(case.shows, case.row, case.boot)
    assert clue.seen.endswith((".", ")"))
    assert all(line > 0 for line in clue.lines)
    if case.likeliest is None:
        assert not clue.causes
    else:
        assert case.likeliest in clue.causes[0].what
    assert not found(case.not_this, case.row, case.boot)


def test_every_row_has_a_case_and_every_field() -> None:
    assert [case.row for case in CASES].count("same_bit") == 1
    assert {row.name for row in ROWS} == {case.row for case in CASES}
    for row in ROWS:
        assert row.title and len(row.title) <= 60
        assert row.measure and row.source
        assert Clue.from_json(found_any(row.name).to_json()) == found_any(row.name)


def found_any(name: str) -> Clue:
    case = next(case for case in CASES if case.row == name)
    return found(case.shows, name, case.boot)[0]


def test_what_is_said_else_changes_the_order() -> None:
    """The same underflow: in an ordinary VMA, and where a driver maps reserved pages."""
    (plain,) = found(log(bad_map()), "mapcount_underflow")
    special = bad_map(vm_flags=0x4404, flags="reserved|node=0", handlers="fault:0x0 mmap:nv_mmap")
    (driver,) = found(log(special), "mapcount_underflow")
    assert "twice in one zap" in plain.causes[0].what
    assert "without an rmap" in driver.causes[0].what
    assert "vm_flags has VM_PFNMAP" in driver.causes[0].speaks_for
    twice = next(one for one in driver.causes if "twice in one zap" in one.what)
    assert twice.speaks_against


def test_what_holds_for_some_reports_only_says_so() -> None:
    reports = [bad_map(pfn=7), bad_map(pfn=8, flags="reserved|node=0"), bad_map(pfn=9)]
    (clue,) = found(log(*reports), "mapcount_underflow")
    said = [sign for cause in clue.causes for sign in cause.speaks_for]
    assert "the page is reserved (in 1 of 3 reports)" in said
    assert clue.seen.endswith("(3 reports)")


def test_list_poison_is_at_home_where_the_layout_is_not_known() -> None:
    """Up to 4.17 `lru` came after the counters: those of another layout prove nothing."""
    old = [1, 0, 0, 0xFFFFFFFF, 0xDEAD000000000100, 0xDEAD000000000200, 0, 0]
    assert not found(log(Dump(mapcount=1, raw=old)), "poison")
    assert found(log(Dump(mapcount=1, words={5: 0xDEAD000000000100})), "poison")


def test_a_reader_maps_nothing() -> None:
    """kpagecount_read() looks at a slab page; page_add_file_rmap() is about to map one."""
    for function, mapped in (("kpagecount_read", False), ("page_add_file_rmap", True)):
        data = log(
            [
                "page: refcount:1 mapcount:0 mapping:0000000000000000 index:0x0 pfn:0x7a7a7",
                "flags: 0x20000000000200(slab|node=0|zone=2)",
                "page dumped because: VM_BUG_ON_PAGE(PageSlab(page))",
                "kernel BUG at include/linux/mm.h:1154!",
                "CPU: 7 PID: 4470 Comm: cat Not tainted 6.1.0-test #54",
                "Call Trace:",
                f" {function}+0xf18/0x18e8",
            ]
        )
        assert bool(found(data, "typed_page_mapped")) is mapped


@pytest.mark.parametrize(
    ("release", "auto", "line", "off"),
    [
        ("6.8.0", "heap alloc:off, heap free:off", "quiet", True),
        ("6.3.0-rc1", "heap alloc:off, heap free:off", "quiet", True),
        ("6.1.0", "heap alloc:off, heap free:off", "quiet", False),
        ("6.8.0", "heap alloc:on, heap free:off", "quiet", False),
        ("6.8.0", "heap alloc:off, heap free:off", "debug_pagealloc=on", False),
        ("6.8.0", "heap alloc:off, heap free:off", "page_poison=1", False),
        ("6.8.0", None, "quiet", False),
        (None, "heap alloc:off, heap free:off", "quiet", False),
    ],
)
def test_checks_are_said_to_be_off_only_where_the_log_shows_it(
    release: str | None, auto: str | None, line: str, off: bool
) -> None:
    data = log([one for one in bad_map() if not one.startswith("CPU")])
    assert bool(found(data, "checks_off", BootFacts(release, line, auto, True))) is off
    refused = log([one for one in Dump(mapcount=1).lines() if not one.startswith("CPU")])
    assert not found(refused, "checks_off", BootFacts(release, line, auto, True))


@pytest.mark.parametrize(
    ("check", "cause"),
    [
        ("VM_BUG_ON_FOLIO(((unsigned int) folio_ref_count(folio) + 127u <= 127u))", "was kept"),
        ("VM_BUG_ON_PAGE(page_ref_count(page) <= 0)", "was kept"),
        ("VM_BUG_ON_PAGE(atomic_read(&page->_count) == 0)", "dropped twice"),
    ],
)
def test_a_reference_of_a_free_page_is_told_by_how_it_was_used(check: str, cause: str) -> None:
    page = "page: refcount:0 mapcount:0 mapping:0000000000000000 index:0x1 pfn:0x1234"
    data = warned(page, f"page dumped because: {check}", "kernel BUG at include/linux/mm.h:1144!")

    (clue,) = found(data, "no_reference")
    assert cause in clue.causes[0].what
    assert not found(data, "failed_check")


def test_a_check_of_the_mm_code_stands_out_without_a_dump_too() -> None:
    head = "WARNING: CPU: 3 PID: 8 at mm/{0}.c:882 {1}+0x10/0x100"
    assert found(warned(head.format("memory", "copy_page_range")), "failed_check")
    assert not found(warned(head.format("page_alloc", "get_page_from_freelist")), "failed_check")
    assert not found(warned(head.format("kmemleak", "scan_gray_list")), "failed_check")


@pytest.mark.parametrize(
    ("count", "says", "likeliest"),
    [
        ("-16384", "gave back more than it counted", "freed twice"),
        ("8192", "had not given back", "leaked"),
    ],
)
def test_the_sign_of_what_is_left_of_page_tables(count: str, says: str, likeliest: str) -> None:
    line = f"[    1.000000] BUG: non-zero pgtables_bytes on freeing mm: {count}\n"
    (clue,) = found(line.encode(), "page_tables_left")

    assert says in clue.seen
    assert likeliest in clue.causes[0].what


def test_a_pmd_that_is_gone_says_that_the_table_is() -> None:
    lines = bad_map(pte=0x6353111100000000, mapcount=None)
    gone = [line.replace("pmd:12345067", "pmd:00000000") for line in lines]

    (clue,) = found(log(gone), "pte_without_page")

    assert "freed while it was walked" in clue.causes[0].what


def test_a_reserved_page_of_number_0_may_be_no_page() -> None:
    (clue,) = found(log(Dump(0, mapcount=0, flags="reserved|node=0", stack=FREED)), "reserved")

    assert clue.causes[0].what.startswith("an entry of 0")


@pytest.mark.parametrize(
    ("magic", "likeliest"), [(0xDEAD000000000040, "put_page()"), (0x118022C0, "false alarm")]
)
def test_a_page_pool_s_page_has_its_magic(magic: int, likeliest: str) -> None:
    dump = Dump(reason="page_pool leak", mapcount=0, words={1: magic})

    (clue,) = found(log(dump), "page_pool")

    assert likeliest in clue.causes[0].what


def test_a_free_page_that_is_mapped_is_no_driver_s() -> None:
    (clue,) = found(log(bad_map(mapcount=-127)), "typed_page_mapped")
    assert clue.causes[0].what.startswith("the page was freed while mapped")
