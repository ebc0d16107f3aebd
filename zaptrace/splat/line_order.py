"""In which order the kernel prints a report's lines, and which reports have them."""

from __future__ import annotations

# The order in which the kernel prints the parts of a report: the page, its mapping, the task.
ORDER = {
    name: place
    for place, names in enumerate(
        (
            ("page",),
            ("folio", "memcg", "aops"),
            ("flags",),
            ("page_type", "raw"),
            ("reason", "repair"),
            ("owner", "allocated", "freed"),
            ("vma", "file"),
            ("task", "hardware"),
            ("trace", "trace's end"),
        )
    )
    for name in names
}
TASK_IS_LAST = ("BUG: KMSAN:", "BUG: KFENCE:", "BUG: KCSAN:")
"""Reports that name the task after the stacks."""
BEFORE_TRACE = frozenset({"task", "hardware", "old task", "old cpu", "old process", "repair"})
"""Lines that stand before a call trace."""
OF_TASK = ORDER["task"]
LATEST = len(ORDER)
REPEATED = frozenset({"raw", "page vma", "dumped", "allocated", "freed", "owner", "other stack"})
STAND_ALONE = (
    "unmovable page",  # has_unmovable_pages()
    "migration failure",  # do_migrate_range()
    "isolation failed",
    "hwpoison: unhandlable page",  # get_hwpoison_page()
    "pagealloc: corrupted page details",  # check_poison_mem()
    "kasan:",
)
"""Why a page is dumped where neither a headline nor a stack comes with it."""
ONLY_OF = {
    "bad pte": "bad_page_map",
    "bad page map": "bad_page_map",
    "still mapped when deleted": "bad_page_cache",
}
"""Why a page is dumped for reports of one kind alone."""
