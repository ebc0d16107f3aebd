"""Cases of the rows on oopses, and on what only old kernels print."""

from __future__ import annotations

from tests.unit.triage.builders import Dump, log
from tests.unit.triage.case import Case


def oops(headline: str, *functions: str) -> bytes:
    """An oops of x86_64."""
    first, *rest = functions
    return log(
        [
            headline,
            "CPU: 2 PID: 812 Comm: worker Not tainted 6.5.0-test #1",
            f"RIP: 0010:{first}+0x20/0x300",
            "Call Trace:",
            *(f" {name}+0x10/0x100" for name in rest),
            "---[ end trace 0000000000000000 ]---",
        ]
    )


PAGE_FAULT = "BUG: unable to handle page fault for address: {:016x}"
LISTS = "kernel BUG at lib/list_debug.c:59!"
IN_VMEMMAP = PAGE_FAULT.format(0xFFFFEA0003D85248)

CASES_OF_OOPSES = [
    Case(
        "page_list",
        oops(LISTS, "__list_del_entry_valid_or_report", "free_pcppages_bulk", "free_unref_page"),
        "freed twice",
        oops(LISTS, "__list_del_entry_valid_or_report", "driver_dequeue", "process_one_work"),
    ),
    Case(
        "mm_object",
        oops(PAGE_FAULT.format(0x6F616943), "unlink_anon_vmas", "free_pgtables", "exit_mmap"),
        "freed while it was in use",
        oops(IN_VMEMMAP, "unmap_page_range", "unmap_vmas"),
    ),
    Case(
        "table_walk",
        oops(IN_VMEMMAP, "unmap_page_range", "unmap_vmas", "exit_mmap"),
        "a page, that does not exist",
        oops(PAGE_FAULT.format(0x10), "driver_open", "do_sys_open"),
    ),
    Case(
        "sanitizer",
        oops(
            "BUG: KASAN: slab-use-after-free in find_thing+0x20/0x300", "dump_stack", "find_thing"
        ),
        "freed while it was in use",
        oops("BUG: KCSAN: data-race in find_thing / free_thing", "find_thing", "f"),
    ),
    Case(
        "slab_check",
        oops("kernel BUG at mm/slub.c:294!", "__slab_free", "kfree", "drop_thing"),
        "freed twice",
        oops("kernel BUG at mm/usercopy.c:99!", "usercopy_abort", "f"),
    ),
    Case(
        "tail_references",
        log(Dump(mapcount=-1, flags="tail", release="4.4.0-test")),
        "dropped twice",
        log(Dump(mapcount=-1, flags="tail", release="4.5.0-test")),
    ),
    Case(
        "flags_alone",
        log(
            [
                "BUG: Bad page state in process reader  pfn:0a1b3",
                "page:c28fd260 flags:80002000 count:0 mapcount:0 mapping:(null) index:0",
                "Pid: 812, comm: reader Not tainted 2.6.31-test #1",
                "Call Trace:",
                " [<c01a2b3c>] ? bad_page+0xcf/0x150",
                " [<c01a2d3c>] ? get_page_from_freelist+0x37d/0x480",
            ]
        ),
        "weak bit",
        log(
            [
                "BUG: Bad page state in process reader  pfn:0a1b3",
                "page:c28fd260 flags:80002000 count:1 mapcount:0 mapping:(null) index:0",
                "Pid: 812, comm: reader Not tainted 2.6.31-test #1",
            ]
        ),
    ),
]
