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
    assert "freed by ?/8 in kvm_drop()" in summary


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


def test_counters_of_an_mm_follow_from_a_bad_entry_before_them() -> None:
    """Of a log that holds both, the counters are not the story."""
    entry = b"_swap_info_get: Bad swap file entry 40101010a050609\n"
    counter = b"BUG: Bad rss-counter state mm:0000000012345678 type:MM_SWAPENTS val:-1\n"
    assert told(*parse(counter + entry)).kind is VerdictKind.RSS_MISMATCH
    verdict = told(*parse(entry + counter))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert "Bad swap file entry" in verdict.summary
    assert any("Bad rss-counter" in one for one in verdict.others)
