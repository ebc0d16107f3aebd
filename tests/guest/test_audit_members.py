"""The audit of a kernel that lacks a member: the rest is reported, or one line says why not."""

from __future__ import annotations

import struct

import drgn
import numpy as np
import pytest

from tests.guest.conftest import Boot
from tests.guest.members import Hidden
from zaptrace.audit import audit
from zaptrace.audit.further import NO_FREE_LISTS, NO_LISTS, NO_MM_COUNTERS, NO_VMAS
from zaptrace.audit.inflight import NO_LOCKS
from zaptrace.audit.mms import NO_CACHE, NO_RSS, NO_TASKS
from zaptrace.audit.pagetables.ram import DumpRam
from zaptrace.audit.pagetables.translate import follow
from zaptrace.audit.state import read_state
from zaptrace.memory.open import open_program
from zaptrace.memory.pages import byte_order
from zaptrace.model.errors import BadInput
from zaptrace.model.findings import AuditResult, FindingClass

pytestmark = pytest.mark.guest


def audited(boot: Boot, hidden: str) -> AuditResult:
    prog = open_program(boot.vmcore, boot.vmlinux)
    Hidden(prog, hidden)
    return audit(prog).result()


@pytest.mark.parametrize(
    ("hidden", "gaps"),
    [
        ("mm_struct.rss_stat", (NO_RSS,)),
        ("MM_FILEPAGES", (NO_RSS,)),
        ("page.ptl", (NO_LOCKS,)),
        ("mm_struct.page_table_lock", (NO_LOCKS,)),
        ("mm_cachep", (NO_CACHE,)),
        ("kmem_cache.offset", (NO_CACHE, NO_VMAS)),
        ("slab.freelist", (NO_CACHE, NO_VMAS)),
        ("slab.slab_cache", (NO_CACHE, NO_VMAS)),
        ("task_struct.mm", (NO_TASKS,)),
        ("task_struct.__state", (NO_TASKS,)),
        ("task_struct.comm", (NO_TASKS,)),
        ("zone.per_cpu_pageset", ("per-CPU free lists",)),
        ("zone.present_pages", ("per-CPU free lists", NO_FREE_LISTS)),
        ("page.lru", ("per-CPU free lists", NO_FREE_LISTS, NO_LISTS)),
        ("PG_unevictable", (NO_LISTS,)),
        ("mm_struct.total_vm", (NO_MM_COUNTERS,)),
        ("page.index", ("rmaps that cannot be followed", NO_VMAS)),
        ("__NR_PAGEFLAGS", ("names of page flags",)),
        ("iomem_resource", ()),
        ("vm_area_struct.vm_flags", (NO_VMAS,)),
        ("mm_struct.mm_mt", ()),
    ],
)
def test_what_one_can_do_without_is_reported_and_the_founding_page_is_found(
    hidden: str, gaps: tuple[str, ...], founding: Boot
) -> None:
    whole = audit(open_program(founding.vmcore, founding.vmlinux)).result()
    result = audited(founding, hidden)
    assert bugs(result) == bugs(whole)
    # The free huge pages lie on lists of page.lru: the x86_64 lab kernel has hugetlbfs.
    pools = {"pools of huge pages"} if (hidden, founding.arch) == ("page.lru", "x86_64") else set()
    assert {one.what for one in result.unseen} == set(gaps) | pools


def bugs(result: AuditResult) -> list[tuple[FindingClass, int | None]]:
    found = [(one.cls, one.pfn) for one in result.findings]
    return [one for one in found if one[0] is not FindingClass.IN_FLIGHT]


def test_a_page_whose_rmap_cannot_be_followed_may_belong_to_any_mm_in_flight(
    founding: Boot,
) -> None:
    prog = open_program(founding.vmcore, founding.vmlinux)
    pfn = without_its_entry(prog)
    assert classes(audit(prog).result(), pfn) == [FindingClass.MORE_MAPCOUNT_THAN_PTES]
    Hidden(prog, "page.index")
    assert classes(audit(prog).result(), pfn) == [FindingClass.IN_FLIGHT]


def classes(result: AuditResult, pfn: int) -> list[FindingClass]:
    return [one.cls for one in result.findings if one.pfn == pfn]


def without_its_entry(prog: drgn.Program) -> int:
    """Blot out the one entry that maps some anonymous page, of an mm that is not being changed; the
    page's PFN."""
    state = read_state(prog, None)
    alone = state.recorded.anon & (state.ptes == 1) & (state.recorded.order == 0)
    for leaf in np.flatnonzero(state.counted & alone[state.first]).tolist():
        number = int(state.walked.mm[leaf])
        if number not in state.in_flight and state.mms[number].tasks:
            break
    ram = DumpRam(prog, state.pages.layout)
    address = int(state.walked.address[leaf])
    *_, last = follow(state.fmt, state.mms[number].root, ram, address)
    empty = struct.pack(byte_order(prog) + "Q", EMPTY[state.fmt.arch])
    at = last.table + 8 * last.index
    prog.add_memory_segment(at, 8, lambda *_: empty, physical=True)
    return int(state.walked.pfn[leaf])


EMPTY = {"s390x": 0x400, "x86_64": 0}  # s390x: _PAGE_INVALID


@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        ("page._mapcount", "raw_mapcount"),
        ("page.mapping", "mapping"),
        ("page.private", "private"),
        ("page.compound_mapcount", "compound_mapcount"),
        ("mm_struct.pgd", "pgd"),
        ("mm_struct.mm_count", "mm_count"),
        ("mm_struct.pgtables_bytes", "pgtables_bytes"),
        ("init_mm", "init_mm"),
    ],
)
def test_what_there_is_no_audit_without_is_named_in_one_line(
    hidden: str, said: str, founding: Boot
) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        audited(founding, hidden)
    assert len(str(caught.value).splitlines()) == 1
