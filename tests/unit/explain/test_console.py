"""A console alone: each sentence is one that the report itself says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.explain.builders import MAP, STATE
from tests.unit.explain.checked import explain
from zaptrace.explain import Evidence
from zaptrace.model.splats import Frame, OwnerStack, PageOwner, Splat
from zaptrace.model.verdict import Verdict, VerdictKind
from zaptrace.splat import parse
from zaptrace.splat.kinds import from_mm


def frames(*names: str) -> tuple[Frame, ...]:
    return tuple(Frame(name, 0x10, 0x100) for name in names)


def told(*splats: Splat) -> Verdict:
    return explain(Evidence(None, splats, console=True))


IN_ZAP = ("unmap_page_range", "unmap_vmas", "exit_mmap")
DRAINS = (
    ("bad_page", "free_pcppages_bulk", "free_unref_page_commit", "free_unref_page", *IN_ZAP),
    ("bad_page", "free_pcppages_bulk.isra.0", "free_unref_page_list", "release_pages", *IN_ZAP),
    ("bad_page", "free_page_is_bad_report", "free_pcppages_bulk", "drain_pages_zone", *IN_ZAP),
    ("dump_stack_lvl", "bad_page.cold", "free_unref_page_commit", "free_unref_page", *IN_ZAP),
)
ALLOCS = (
    ("bad_page", "check_new_page_bad", "rmqueue_bulk", "get_page_from_freelist", *IN_ZAP),
    ("bad_page", "rmqueue_bulk.constprop.0", "__rmqueue_pcplist", *IN_ZAP),
    ("bad_page", "prep_new_page", "get_page_from_freelist", "__alloc_pages_nodemask", *IN_ZAP),
)


@pytest.mark.parametrize("stack", [*DRAINS, *ALLOCS])
def test_a_stack_of_the_detector_s_is_no_freer_s(stack: tuple[str, ...]) -> None:
    """The founding bug's two reports, but the page was looked at in a drain or an allocation."""
    map_ = replace(MAP, trace=frames("print_bad_pte", *IN_ZAP))
    verdict = told(replace(STATE, trace=frames(*stack)), map_)
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert not any(site.role == "freed" for site in verdict.sites)
    assert "init/30 freed" not in verdict.summary
    wanted = "did not free it" if stack in ALLOCS else "the detector's, not the freer's"
    assert wanted in verdict.summary
    assert not any("rmap removal" in doubt for doubt in verdict.doubts)


@pytest.mark.parametrize(
    "free",
    [
        ("bad_page", "free_pcp_prepare", "free_unref_page"),
        ("bad_page", "free_page_is_bad", "free_pages_prepare", "free_unref_page", "__folio_put"),
        ("dump_stack_lvl", "bad_page", "__free_pages_ok", "__put_page"),
        ("bad_page", "__free_frozen_pages", "folio_put"),
    ],
)
def test_two_reports_of_one_zap(free: tuple[str, ...]) -> None:
    map_ = replace(MAP, trace=frames("print_bad_pte", *IN_ZAP))
    verdict = told(replace(STATE, trace=frames(*free, *IN_ZAP)), map_)
    assert verdict.kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED
    assert verdict.sites[0].symbol == "unmap_page_range"


def test_a_zap_that_another_call_began_is_another_zap() -> None:
    state = replace(STATE, trace=frames("bad_page", "free_unref_page", *IN_ZAP))
    map_ = replace(MAP, trace=frames("print_bad_pte", "unmap_page_range", "unmap_vmas", "munmap"))
    assert told(state, map_).kind is VerdictKind.UNEXPLAINED


def test_without_a_call_trace_no_task_is_said_to_have_freed() -> None:
    verdict = told(replace(STATE, trace=()))
    assert "only came by" in verdict.summary
    assert "init/30 freed" not in verdict.summary


def test_page_owner_names_who_freed() -> None:
    owner = PageOwner(
        "freed",
        OwnerStack(7, comm="maker", trace=frames("post_alloc_hook", "kvm_make")),
        OwnerStack(8, trace=frames("free_unref_page", "__put_page", "kvm_drop")),
    )
    summary = told(replace(STATE, trace=frames(*ALLOCS[0]), page_owner=owner)).summary
    assert "allocated last by maker/7 in kvm_make()" in summary
    assert "freed by process 8 in kvm_drop()" in summary


@pytest.mark.parametrize(
    "text",
    [
        "WARNING: ./include/linux/rmap.h:351 at folio_add_file_rmap_ptes+0x3b8/0x468, CPU#9: a/9",
        "mm/pgtable-generic.c:33: bad pmd ffff882101234cd8(0000012c111001e2)",
        "_swap_info_get: Bad swap file entry 40101010a050609",
        "BUG: non-zero pgtables_bytes on freeing mm: 4096",
        "BUG: Bad page map in process reaper  pte:6353111100000000 pmd:00000000",
        "BUG: Bad page state in process reaper  pfn:1234",
        "BUG: Bad page cache in process reaper  pfn:1234",
        "kernel BUG at mm/page_table_check.c:143!",
        "kernel BUG at include/linux/mm.h:340!",
        "WARNING: CPU: 0 PID: 826 at mm/rmap.c:414 page_add_anon_rmap+0xa9/0x2ef",
    ],
)
def test_a_report_about_pages_is_never_clean(text: str) -> None:
    splats = parse(f"[    1.000000] {text}\n[    1.100000] reboot: Power down\n".encode())
    verdict = told(*splats)
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert "Not a matter of pages" not in " ".join((verdict.summary, *verdict.doubts))


def test_a_warning_of_a_count_below_zero_has_its_readings() -> None:
    """The rmap's own check finds what print_bad_pte() finds: the same causes are open."""
    splats = parse(
        b"page: refcount:4 mapcount:-1 mapping:0000000000000000 index:0x3 pfn:0x2a5f1\n"
        b"page dumped because: VM_WARN_ON_FOLIO(atomic_read(&folio->_mapcount) < -1)\n"
        b"------------[ cut here ]------------\n"
        b"WARNING: CPU: 7 PID: 8 at include/linux/rmap.h:199 __folio_rmap_sanity_checks+0x3/0x9\n"
    )
    verdict = told(*splats)
    assert verdict.kind is VerdictKind.UNEXPLAINED
    readings = [one.text for one in verdict.sentences if one.reading]
    assert len(readings) == 4
    assert any("never added to the rmap" in one for one in readings)


def test_a_bad_pte_alone_has_its_readings() -> None:
    """A fork that adds no rmap leaves no more than this of a page that is still referenced."""
    splats = parse(
        b"BUG: Bad page map in process fork  pte:00000000008b831d\n"
        b"page: refcount:2 mapcount:-1 mapping:0000000000000000 index:0x3ffa55f7 pfn:0x8b8\n"
        b"anon flags: 0x20008(uptodate|swapbacked|zone=0)\n"
        b"page dumped because: bad page map\n"
        b"addr:000003ffa55f7000 vm_flags:04100073 anon_vma:00000000013172a0 "
        b"mapping:0000000000000000 index:3ffa55f7\n"
        b"file:(null) fault:0x0 mmap:0x0 mmap_prepare: 0x0 read_folio:0x0\n"
    )
    verdict = told(*splats)
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert any("never added to the rmap" in one for one in verdict.readings)
    assert "removed twice" not in verdict.facts
    assert not any("special" in one for one in verdict.readings[:3])


def test_counters_of_an_mm_follow_from_a_bad_entry_before_them() -> None:
    """Of a log that holds both, the counters are not the story."""
    entry = b"_swap_info_get: Bad swap file entry 40101010a050609\n"
    counter = b"BUG: Bad rss-counter state mm:0000000012345678 type:MM_SWAPENTS val:-1\n"
    assert told(*parse(counter + entry)).kind is VerdictKind.RSS_MISMATCH
    verdict = told(*parse(entry + counter))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert "Bad swap file entry" in verdict.summary
    assert any("Bad rss-counter" in one for one in verdict.others)


def test_a_page_that_is_given_back_with_references() -> None:
    """__folio_put() does not look at the count: nothing was dropped too often."""
    splats = parse(
        b"BUG: Bad page state in process btrfs  pfn:40ab0\n"
        b"page: refcount:1 mapcount:0 mapping:0000000000000000 index:0x61be5 pfn:0x40ab0\n"
        b"page dumped because: nonzero _refcount\n"
        b"Call Trace:\n"
        b" bad_page+0xea/0xf0\n"
        b" free_unref_page+0x8e1/0x900\n"
        b" __folio_put+0xe6/0x190\n"
        b" do_encoded_write+0x445/0x780\n"
    )
    verdict = told(*splats)
    readings = [one.text for one in verdict.sentences if one.reading]
    assert "does not look at the count" in readings[0]
    assert not any("after the last one" in one for one in readings)
    assert verdict.summary.startswith("btrfs freed pfn 0x40ab0")


def test_where_a_check_stands() -> None:
    """It stands in the function that holds it, also when that is the allocator's."""
    splats = parse(
        b"kernel BUG at include/linux/mm.h:592!\n"
        b"CPU: 0 PID: 1 Comm: swapper Not tainted 5.5.0-test #1\n"
        b"EIP: __free_pages+0x14/0x40\n"
        b"Call Trace:\n"
        b" pgd_free+0x5a/0x170\n"
    )
    assert "in __free_pages()" in told(*splats).summary


def test_a_page_without_a_number() -> None:
    splats = parse(
        b"BUG: Bad page map in process mount  pte:00b70401 pmd:8e5dc000\n"
        b"page:80c24880 refcount:1 mapcount:-1 mapping:00000000 index:0x0\n"
        b"page dumped because: bad pte\n"
    )
    summary = told(*splats).summary
    assert "while mount ran" in summary
    assert "It shows a page (mapcount -1, refcount 1), and not its number." in summary


def test_counters_of_several_mms() -> None:
    splats = parse(
        b"BUG: Bad rss-counter state mm:00000000dc60f1c1 type:MM_ANONPAGES val:36\n"
        b"BUG: Bad rss-counter state mm:000000008eb9341b type:MM_ANONPAGES val:36\n"
    )
    assert "MM_ANONPAGES +36 (2 times) pages when mms were freed" in told(*splats).summary


def test_a_check_of_what_handles_pages_is_suspicious() -> None:
    for line in (
        "kernel BUG at mm/page-writeback.c:2655!",
        "kernel BUG at mm/swap_cgroup.c:141!",
        "kernel BUG at arch/powerpc/mm/book3s64/pgtable.c:387!",
    ):
        (splat,) = parse(f"{line}\n".encode())
        assert from_mm(splat)


def test_an_entry_of_a_huge_page_is_no_pte() -> None:
    """Since 6.18 the headline of a bad mapping names the level of the entry."""
    huge = replace(MAP, pte=None, pmd=0x8000000123400867, refcount=512, mapcount=-1)
    of_pmd = told(replace(huge, trace=frames("print_bad_page_map", "vm_normal_page_pmd", *IN_ZAP)))
    assert "met PMD 0x8000000123400867, which maps" in of_pmd.summary
    of_pte = told(
        replace(MAP, pte=0x1234025, pmd=0x1234067, trace=frames("print_bad_page_map", *IN_ZAP))
    )
    assert "met PTE 0x1234025, which" in of_pte.summary and "PMD" not in of_pte.summary


@pytest.mark.parametrize("kind", ["VM_BUG_ON", "Bad page cache"])
def test_a_page_that_the_page_cache_gives_up_while_it_is_mapped(kind: str) -> None:
    """A truncate that unmaps nothing: the report names no cause, and none was left open."""
    dump = b"page: refcount:3 mapcount:1 mapping:0000000000000001 index:0x0 pfn:0x17ed\n"
    why = b"page dumped because: VM_BUG_ON_FOLIO(folio_mapped(folio))\n"
    text = dump + why + b"kernel BUG at mm/filemap.c:154!\n"
    if kind == "Bad page cache":
        head = b"BUG: Bad page cache in process trunc2  pfn:017ed\n"
        text = head + dump + b"page dumped because: still mapped when deleted\n"
    verdict = told(*parse(text))
    assert len(verdict.readings) == 3
    assert "it was taken out of the page cache while PTEs map it" in verdict.readings[0]
    assert "mapping_leaked" in verdict.readings[1]
    rss = b"BUG: Bad rss-counter state mm:00000000aa11bb22 type:MM_FILEPAGES val:1\n"
    assert "mapping_leaked): an mm had ended" in told(*parse(rss + text)).readings[0]
    assert "page cache" in told(*parse(text + b"usb 1-1: x\n" + rss)).readings[0]
