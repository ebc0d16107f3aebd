"""Parts that invented reports share: a dump, a task, a trace, page_owner."""

from __future__ import annotations

from typing import Any

Report = tuple[list[str], list[dict[str, Any]]]


PAGE = "page: refcount:0 mapcount:1 mapping:0000000000000000 index:0x7f00aa1b pfn:0x2b4c1"


PAGE_FIELDS = {
    "refcount": 0,
    "mapcount": 1,
    "mapping": 0,
    "index": 0x7F00AA1B,
    "pfn": 0x2B4C1,
    "flags": ["uptodate", "lru", "swapbacked"],
    "raw": [0x0100000000080014, 0xDEAD000000000100, 0, 0x7F00AA1B],
}


DUMP = [
    PAGE,
    "flags: 0x100000000080014(uptodate|lru|swapbacked|node=0|zone=1)",
    "raw: 0100000000080014 dead000000000100 0000000000000000 000000007f00aa1b",
]


TASK = [
    "Modules linked in: one two(OE) three",
    "CPU: 5 UID: 0 PID: 4321 Comm: worker-7 Tainted: G    B              6.8.12-test #3",
    "Tainted: [B]=BAD_PAGE",
    "Hardware name: Example Board, BIOS 1.2 01/02/2024",
]


TASK_FIELDS = {
    "cpu": 5,
    "pid": 4321,
    "comm": "worker-7",
    "tainted": "GB",
    "kernel_release": "6.8.12-test",
    "hardware": "Example Board, BIOS 1.2 01/02/2024",
}


TRACE = [
    "Call Trace:",
    " <TASK>",
    " dump_stack_lvl+0x41/0x60",
    " bad_page+0x76/0xe0",
    " ? cpumask_next+0x24/0x34",
    " zap_pte_range+0x88a/0xc70 [fancy]",
    " </TASK>",
]


FRAMES = ["dump_stack_lvl", "bad_page", "cpumask_next", "zap_pte_range"]


WHOLE = {**TASK_FIELDS, "trace": FRAMES, "unreliable": ["cpumask_next"]}


OWNER = [
    "page_owner tracks the page as freed",
    (
        "page last allocated via order 2, migratetype Movable, "
        "gfp_mask 0x140dca(GFP_HIGHUSER_MOVABLE|__GFP_COMP|__GFP_ZERO), "
        "pid 4000, tgid 4000 (an owner), ts 18000000000, free_ts 17000000000"
    ),
    " post_alloc_hook+0x11/0x22",
    " alloc_caller_one+0x33/0x44",
    "page last free pid 3999 tgid 3998 stack trace:",
    " free_caller_one+0x55/0x66",
]
