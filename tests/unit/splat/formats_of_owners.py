"""What page_owner prints of a page, of each era."""

from __future__ import annotations

from typing import Any

_ALLOCATED = [" get_page_from_freelist+0x1/0x2", " alloc_pages_vma+0x3/0x4"]
_FREED = [" free_unref_page+0x5/0x6", " exit_mmap+0x7/0x8"]
_GFP = "gfp_mask 0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_ZERO|__GFP_COMP)"

# __dump_page_owner(), one a change of its words.
OWNERS: tuple[tuple[str, list[str], dict[str, Any]], ...] = (
    (
        "4.6",
        [f"page allocated via order 3, migratetype Movable, {_GFP}", *_ALLOCATED],
        {"order": 3, "migratetype": "Movable"},
    ),
    (
        "4.19: moved",
        [
            f"page allocated via order 3, migratetype Movable, {_GFP}",
            *_ALLOCATED,
            "page has been migrated, last migrate reason: compaction",
        ],
        {"order": 3},
    ),
    (
        "5.4",
        [
            "page_owner tracks the page as allocated",
            f"page last allocated via order 0, migratetype Unmovable, {_GFP}",
            *_ALLOCATED,
            "page last free stack trace:",
            *_FREED,
        ],
        {"state": "allocated", "order": 0, "freed": True},
    ),
    (
        "5.11: pid and time",
        [
            "page_owner tracks the page as freed",
            (
                f"page last allocated via order 0, migratetype Movable, {_GFP}, pid 12, "
                "ts 123456789, free_ts 98765"
            ),
            *_ALLOCATED,
            "page last free stack trace:",
            *_FREED,
        ],
        {"state": "freed", "pid": 12, "time_ns": 123456789, "free_time_ns": 98765, "freed": True},
    ),
    (
        "5.18: tgid and name",
        [
            "page_owner tracks the page as allocated",
            (
                f"page last allocated via order 0, migratetype Movable, {_GFP}, pid 12, tgid 11 "
                "(Web Content), ts 123456789, free_ts 98765"
            ),
            *_ALLOCATED,
            "page_owner free stack trace missing",
        ],
        {"state": "allocated", "pid": 12, "tgid": 11, "comm": "Web Content", "freed": False},
    ),
    (
        "6.8: who freed it",
        [
            "page_owner tracks the page as freed",
            (
                f"page last allocated via order 0, migratetype Movable, {_GFP}, pid 12, tgid 11 "
                "(sh), ts 123456789, free_ts 98765"
            ),
            *_ALLOCATED,
            "page last free pid 77 tgid 76 stack trace:",
            *_FREED,
            "page has been migrated, last migrate reason: numa_misplaced",
        ],
        {"state": "freed", "pid": 12, "freed": True, "free_pid": 77},
    ),
    (
        "6.18: and when",
        [
            "page_owner tracks the page as freed",
            (
                f"page last allocated via order 0, migratetype Movable, {_GFP}, pid 12, tgid 11 "
                "(sh), ts 123456789"
            ),
            *_ALLOCATED,
            "page last free pid 77 tgid 76 ts 99999 stack trace:",
            *_FREED,
        ],
        {"state": "freed", "pid": 12, "freed": True, "free_pid": 77, "freed_ns": 99999},
    ),
    (
        "5.4: nothing known",
        ["page_owner tracks the page as freed", "page_owner free stack trace missing"],
        {"state": "freed", "allocated": False, "freed": False},
    ),
)
