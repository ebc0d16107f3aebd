"""What the tests of this package are built from."""

from __future__ import annotations

from typing import Any

from tests.unit.explain.audits import resolve
from tests.unit.explain.kernel import (
    RETURN_INTO_FREE,
    RETURN_INTO_WP,
    RETURN_INTO_ZAP,
    events_of,
)
from tests.unit.explain.rows import (
    PFN,
    freed,
    of_page,
    refused,
    removed,
    zap,
)
from zaptrace.model.events import Events, Kind
from zaptrace.model.findings import FindingClass
from zaptrace.model.splats import Frame, Splat
from zaptrace.model.verdict import CodeSite

BELOW = FindingClass.REFCOUNT_BELOW_MAPCOUNT


FREED = FindingClass.MAPPED_BUT_FREE


MORE = FindingClass.MORE_PTES_THAN_MAPCOUNT


STATE = Splat(
    "bad_page_state",
    pfn=PFN,
    mapcount=1,
    refcount=0,
    reason="nonzero mapcount",
    pid=30,
    comm="init",
    time=100.0,
    trace=(
        Frame("bad_page", 0xEC, 0x120),
        Frame("free_pcp_prepare", 0x100, 0x350),
        Frame("unmap_page_range", 0x10, 0x20),
        Frame("unmap_vmas", 0x8, 0x20),
    ),
)


MAP = Splat(
    "bad_page_map",
    pfn=PFN,
    mapcount=0,
    refcount=1,
    pid=30,
    comm="init",
    time=100.02,
    trace=(
        Frame("print_bad_pte", 0x20, 0x200),
        Frame("unmap_page_range", 0x18, 0x20),
        Frame("unmap_vmas", 0x8, 0x20),
    ),
)


def second_look(rows: list[dict[str, Any]], after: str = "exit") -> Events:
    events = events_of(rows)
    events.meta["after"] = after
    return events


ELSEWHERE = removed(500, pid=99, pfn=1)


LEAKED = [ELSEWHERE, zap(1000), freed(3000, order=0), refused(4000), zap(9000)]


def in_gather(address: int) -> CodeSite | None:
    """x86_64: the stack of a free after the zap, when what it gathered is flushed."""
    named = {RETURN_INTO_FREE: "free_unref_page_list", RETURN_INTO_ZAP: "tlb_finish_mmu"}
    return CodeSite(named.get(address, "exit_mmap"), 0x10, None, (), None, address)


def copied(address: int) -> CodeSite | None:
    other = CodeSite("wp_page_copy", 0x30, None, (), None, address)
    return other if address == RETURN_INTO_WP else resolve(address)


UNSEEN = [ELSEWHERE, zap(1000), freed(3000, order=0)]
"""A kernel without DEBUG_VM: the page goes out again."""


TWICE = [
    zap(1000),
    removed(2000, raw=0),
    removed(2100, raw=-1),
    of_page(Kind.BAD_PTE, 2500, -2, refcount=1),
    freed(3000, raw=-2),
    refused(4000, raw=-2),
]


AGAIN = [
    zap(1000),
    removed(1100, raw=0),
    zap(2000),
    removed(2100, raw=-1),
    of_page(Kind.BAD_PTE, 2500, -2, refcount=1),
]


def in_zap(address: int) -> CodeSite | None:
    return CodeSite("unmap_page_range", 0x62E, None, (), None, address)
