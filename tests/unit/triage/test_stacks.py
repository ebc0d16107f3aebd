"""What a call trace says of the task, by names alone."""

from __future__ import annotations

import pytest

from zaptrace.model.splats import Frame
from zaptrace.triage.stacks import Way, base_name, read_stack

ZAP = "zap_pte_range unmap_page_range unmap_vmas exit_mmap"


def trace(text: str) -> tuple[Frame, ...]:
    return tuple(
        Frame(name.removeprefix("?"), 1, 9, reliable=not name.startswith("?"))
        for name in text.split()
    )


@pytest.mark.parametrize(
    ("text", "way", "caller"),
    [
        (f"dump_stack bad_page free_pcp_prepare free_unref_page {ZAP}", Way.FREE, "zap_pte_range"),
        ("bad_page free_pages_prepare __free_pages_ok kfree_big", Way.FREE, "kfree_big"),
        ("bad_page.cold free_unref_folios folios_put_refs tlb_finish_mmu", Way.FREE,
         "tlb_finish_mmu"),
        ("bad_page free_page_is_bad free_unref_page_prepare release_pages x", Way.FREE, "x"),
        ("bad_page free_pages_check_bad __free_pages_ok put_page y", Way.FREE, "y"),
        ("bad_page free_hot_cold_page free_hot_cold_page_list release_pages z", Way.FREE, "z"),
        (("bad_page free_pages_check_bad free_pcppages_bulk free_unref_page_commit free_unref_page"
         f" {ZAP}"), Way.DRAIN, "zap_pte_range"),
        ("bad_page free_pcppages_bulk drain_pages_zone drain_pages page_alloc_cpu_dead", Way.DRAIN,
         "page_alloc_cpu_dead"),
        ("bad_page free_pcppages_bulk drain_all_pages __alloc_pages_slowpath __alloc_pages w",
         Way.DRAIN, "w"),
        ("bad_page check_new_page_bad rmqueue_bulk get_page_from_freelist __alloc_pages q",
         Way.ALLOC, "q"),
        ("bad_page prep_new_page get_page_from_freelist __alloc_pages_nodemask q", Way.ALLOC, "q"),
        ("bad_page get_page_from_freelist q", Way.ALLOC, "q"),
        ("bad_page", Way.UNKNOWN, None),
        ("", Way.UNKNOWN, None),
        ("print_bad_pte unmap_page_range", Way.UNKNOWN, "unmap_page_range"),
        (f"bad_page ?free_pcp_prepare {ZAP}", Way.FREE, "zap_pte_range"),
        (f"bad_page ?free_pcp_prepare ?free_pcppages_bulk {ZAP}", Way.UNKNOWN, "zap_pte_range"),
        (f"bad_page ?free_pcppages_bulk free_pcp_prepare {ZAP}", Way.FREE, "zap_pte_range"),
    ],
)  # fmt: skip
def test_reads_a_stack(text: str, way: Way, caller: str | None) -> None:
    reading = read_stack(trace(text))
    assert reading.way is way
    assert (reading.callers[0].symbol if reading.callers else None) == caller


def test_page_owner_s_own_functions_are_no_callers() -> None:
    stack = "__reset_page_owner free_pages_prepare free_frozen_pages vfree my_driver"
    assert [one.symbol for one in read_stack(trace(stack)).callers][:1] == ["vfree"]
    stack = "save_stack __set_page_owner post_alloc_hook get_page_from_freelist my_caller"
    assert [one.symbol for one in read_stack(trace(stack)).callers][:1] == ["my_caller"]


def test_clones_have_their_function_s_name() -> None:
    assert base_name("free_pcppages_bulk.constprop.0.isra.0") == "free_pcppages_bulk"
    assert base_name("bad_page.cold") == "bad_page"
    assert base_name("a.b") == "a.b"
    assert len(base_name("x." * 100_000)) <= 512
