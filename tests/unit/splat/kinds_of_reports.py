"""Invented reports, one for each kind and form, and what a person reads in them."""

from __future__ import annotations

from tests.unit.splat.report_parts import (
    DUMP,
    OWNER,
    PAGE,
    PAGE_FIELDS,
    TASK,
    TASK_FIELDS,
    TRACE,
    WHOLE,
    Report,
)

REPORTS: dict[str, Report] = {
    "bad_page_state": (
        [
            "BUG: Bad page state in process worker-7  pfn:2b4c1",
            *DUMP,
            "page dumped because: nonzero mapcount",
            *TASK,
            *TRACE,
        ],
        [
            {
                "kind": "bad_page_state",
                "process": "worker-7",
                **PAGE_FIELDS,
                "reason": "nonzero mapcount",
                **WHOLE,
            }
        ],
    ),
    "bad_page_state, page_owner": (
        [
            "BUG: Bad page state in process worker-7  pfn:2b4c1",
            PAGE,
            "head: order:2 mapcount:1 entire_mapcount:0 nr_pages_mapped:1 pincount:0",
            "memcg:ffff888101234567",
            "anon flags: 0x100000000080014(uptodate|lru|swapbacked|node=0|zone=1)",
            "page_type: f2(table)",
            *DUMP[2:],
            "page dumped because: PAGE_FLAGS_CHECK_AT_FREE flag(s) set",
            *OWNER,
            *TASK,
            *TRACE,
        ],
        [
            {
                "kind": "bad_page_state",
                **PAGE_FIELDS,
                "page_type": 0xF2,
                "reason": "PAGE_FLAGS_CHECK_AT_FREE flag(s) set",
                "folio.order": 2,
                "folio.nr_pages_mapped": 1,
                "owner.state": "freed",
                "owner.allocated": ["post_alloc_hook", "alloc_caller_one"],
                "owner.freed": ["free_caller_one"],
                **WHOLE,
            }
        ],
    ),
    "bad_page_state, 2.6.20": (
        [
            "Bad page state in process 'worker-7'",
            "page:c1aabb80 flags:0xc0000014 mapping:00000000 mapcount:-1 count:0",
            "Trying to fix it up, but a reboot is needed",
            "Backtrace:",
            " [<c0155ae4>] bad_page+0x60/0x8f",
            " [<c01555bd>] prep_new_page+0x197/0x1a4",
        ],
        [
            {
                "kind": "bad_page_state",
                "process": "worker-7",
                "mapcount": -1,
                "refcount": 0,
                "mapping": 0,
                "trace": ["bad_page", "prep_new_page"],
            }
        ],
    ),
    "bad_page_state, 2.6.32": (
        [
            "BUG: Bad page state in process worker-7  pfn:2b4c1",
            "page:ffffea0000a12b80 flags:40000000000014 count:0 mapcount:1 mapping:(null) index:7",
            "Pid: 4321, comm: worker-7 Tainted: G    B      ---------------    2.6.32-431.el6 #1",
            "Call Trace:",
            " [<ffffffff8112a1c7>] ? bad_page+0x107/0x160",
            " [<ffffffff8112c6f9>] ? free_hot_cold_page+0x1a9/0x220",
        ],
        [
            {
                "kind": "bad_page_state",
                "process": "worker-7",
                "pfn": 0x2B4C1,
                "refcount": 0,
                "mapcount": 1,
                "mapping": 0,
                "index": 7,
                "pid": 4321,
                "comm": "worker-7",
                "tainted": "GB",
                "kernel_release": "2.6.32-431.el6",
                "trace": ["bad_page", "free_hot_cold_page"],
                "unreliable": ["bad_page", "free_hot_cold_page"],
            }
        ],
    ),
    "bad_page_state, hashed": (
        [
            "BUG: Bad page state in process worker-7  pfn:2b4c1",
            "page:(____ptrval____) refcount:-1 mapcount:0 mapping:(____ptrval____) index:0x0",
            "flags: 0xffffc000000000()",
            "page dumped because: nonzero _refcount",
            "CPU: 1 PID: 41 Comm: worker-7 Tainted: G    B             5.0.0-test #4",
            "Call Trace:",
            "[c0000000f1234560] [c0000000001a2b3c] dump_stack+0xb0/0xf4 (unreliable)",
            "[c0000000f12345a0] [c0000000003d5e0c] bad_page+0x178/0x1b0",
            "[c0000000f1234640] [c0000000003d6a04] .free_pcppages_bulk+0x7c4/0xb60",
        ],
        [
            {
                "kind": "bad_page_state",
                "refcount": -1,
                "mapcount": 0,
                "mapping": None,
                "reason": "nonzero _refcount",
                "trace": ["dump_stack", "bad_page", "free_pcppages_bulk"],
                "unreliable": ["dump_stack"],
            }
        ],
    ),
    "bad_page_map": (
        [
            "BUG: Bad page map in process worker-7  pte:8000000111222067 pmd:122233067",
            *DUMP,
            "page dumped because: bad pte",
            (
                "addr:00007f0011223000 vm_flags:000000bb anon_vma:0000000000000000 "
                "mapping:ffff9000aaaa0000 index:3c"
            ),
            "file:libfancy.so.6 fault:fancy_fault mmap:fancy_mmap read_folio:0x0",
            *TASK,
            *TRACE,
        ],
        [
            {
                "kind": "bad_page_map",
                "process": "worker-7",
                "pte": 0x8000000111222067,
                "pmd": 0x122233067,
                "addr": 0x7F0011223000,
                "vm_flags": 0xBB,
                "file": "libfancy.so.6",
                "vm_fault": "fancy_fault",
                "file_mmap": "fancy_mmap",
                **PAGE_FIELDS,
                "reason": "bad pte",
                **WHOLE,
            }
        ],
    ),
    "bad_page_map, 6.18": (
        [
            "BUG: Bad page map in process worker-7  pte:8000000111222067",
            "pgd:10a0b0067 p4d:10a0b0067 pud:10a0b1067 pmd:122233067",
            (
                "addr:00007f0011223000 vm_flags:000000bb anon_vma:0000000000000000 "
                "mapping:0000000000000000 index:3c"
            ),
            "file:(null) fault:0x0 mmap:0x0 mmap_prepare: 0x0 read_folio:0x0",
            *TASK,
            *TRACE,
        ],
        [
            {
                "kind": "bad_page_map",
                "pte": 0x8000000111222067,
                "pmd": 0x122233067,
                "addr": 0x7F0011223000,
                "file": None,
                **WHOLE,
            }
        ],
    ),
    "bad_page_map, 2.6.27": (
        [
            "Bad pte = 12345067, process = worker-7, vm_flags = 8000073, vaddr = b7f12000",
            "Pid: 4321, comm: worker-7 Not tainted 2.6.27.7 #1",
            "Call Trace:",
            " [<c0155ae4>] print_bad_pte+0x60/0x8f",
        ],
        [
            {
                "kind": "bad_page_map",
                "process": "worker-7",
                "pte": 0x12345067,
                "vm_flags": 0x8000073,
                "addr": 0xB7F12000,
                "pid": 4321,
                "kernel_release": "2.6.27.7",
                "trace": ["print_bad_pte"],
            }
        ],
    ),
    "bad_page_cache": (
        [
            "BUG: Bad page cache in process worker-7  pfn:2b4c1",
            *DUMP,
            "page dumped because: still mapped when deleted",
            *TASK,
            *TRACE,
        ],
        [
            {
                "kind": "bad_page_cache",
                "process": "worker-7",
                **PAGE_FIELDS,
                "reason": "still mapped when deleted",
                **WHOLE,
            }
        ],
    ),
    "bad_rss_counter": (
        [
            "BUG: Bad rss-counter state mm:00000000aa11bb22 type:MM_ANONPAGES val:-3",
            "BUG: Bad rss-counter state mm:(____ptrval____) idx:0 val:512",
            (
                "BUG: Bad rss-counter state mm:00000000aa11bb22 type:MM_SHMEMPAGES val:1 "
                "Comm:a worker Pid:4321"
            ),
        ],
        [
            {
                "kind": "bad_rss_counter",
                "mm": 0xAA11BB22,
                "rss_type": "MM_ANONPAGES",
                "rss_value": -3,
            },
            {"kind": "bad_rss_counter", "mm": None, "rss_type": "MM_FILEPAGES", "rss_value": 512},
            {
                "kind": "bad_rss_counter",
                "rss_type": "MM_SHMEMPAGES",
                "rss_value": 1,
                "comm": "a worker",
                "pid": 4321,
            },
        ],
    ),
    "nonzero_page_tables": (
        [
            "BUG: non-zero pgtables_bytes on freeing mm: 4096",
            "BUG: non-zero nr_ptes on freeing mm: 2",
            "BUG: non-zero nr_pmds on freeing mm: -1",
        ],
        [
            {
                "kind": "nonzero_page_tables",
                "reason": "BUG: non-zero pgtables_bytes on freeing mm: 4096",
            },
            {"kind": "nonzero_page_tables", "reason": "BUG: non-zero nr_ptes on freeing mm: 2"},
            {"kind": "nonzero_page_tables", "reason": "BUG: non-zero nr_pmds on freeing mm: -1"},
        ],
    ),
    "bad_page_table": (
        [
            "mm/pgtable-generic.c:33: bad pmd ffff882101234cd8(0000012c111001e2)",
            "mm/memory.c:397: bad pud 000000040011104d.",
            "arch/s390/mm/fault.c:12: bad pgd 0123456789abcdef.",
        ],
        [
            {"kind": "bad_page_table", "reason": "bad pmd ffff882101234cd8(0000012c111001e2)"},
            {"kind": "bad_page_table", "reason": "bad pud 000000040011104d"},
            {"kind": "bad_page_table", "reason": "bad pgd 0123456789abcdef"},
        ],
    ),
    "bad_page_table, corrupted": (
        [
            "worker-7: Corrupted page table at address 7f1122334000",
            (
                "PGD 800000010a0b0067 P4D 800000010a0b0067 PUD 10a0b1067 PMD 10a0b2067 "
                "PTE 8000fffffffff237"
            ),
            "Bad pagetable: 000d [#1] PREEMPT SMP PTI",
            *TASK,
            "RIP: 0033:0x7f1122334455",
        ],
        [
            {
                "kind": "bad_page_table",
                "process": "worker-7",
                "addr": 0x7F1122334000,
                "pmd": 0x10A0B2067,
                "pte": 0x8000FFFFFFFFF237,
                **TASK_FIELDS,
                "trace": [],
            }
        ],
    ),
    "bad_swap_entry": (
        [
            "_swap_info_get: Bad swap file entry 40101010a050609",
            "swap_free: Unused swap offset entry 00004000",
            "get_swap_device: Bad swap offset entry 2f00000000000",
        ],
        [
            {"kind": "bad_swap_entry", "reason": "Bad swap file entry 40101010a050609"},
            {"kind": "bad_swap_entry", "reason": "Unused swap offset entry 00004000"},
            {"kind": "bad_swap_entry", "reason": "Bad swap offset entry 2f00000000000"},
        ],
    ),
    "page_table_check": (
        [
            "------------[ cut here ]------------",
            "kernel BUG at mm/page_table_check.c:143!",
            "Oops: invalid opcode: 0000 [#1] PREEMPT SMP NOPTI",
            *TASK,
            "RIP: 0010:__page_table_check_zero+0xfb/0x130",
            "Code: 0f 0b <0f> 0b",
            "RSP: 0018:ffffc90000a3fb20 EFLAGS: 00010202",
            "Call Trace:",
            " free_frozen_pages+0x33/0x55",
            "---[ end trace 0000000000000000 ]---",
        ],
        [
            {
                "kind": "page_table_check",
                "reason": "kernel BUG at mm/page_table_check.c:143!",
                **TASK_FIELDS,
                "trace": ["__page_table_check_zero", "free_frozen_pages"],
            }
        ],
    ),
    "vm_bug_on": (
        [
            *DUMP,
            "page dumped because: VM_BUG_ON_PAGE(page_ref_count(page) == 0)",
            "------------[ cut here ]------------",
            "kernel BUG at include/linux/mm.h:1144!",
            "Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP",
            *TASK,
            "pstate: 60400005 (nZCv daif +PAN -UAO)",
            "pc : release_pages+0x40/0x50",
            "lr : release_pages+0x3c/0x50",
            "Call trace:",
            " release_pages+0x40/0x50 (P)",
            " tlb_flush_mmu+0x1c/0x30",
        ],
        [
            {
                "kind": "vm_bug_on",
                **PAGE_FIELDS,
                "reason": "kernel BUG at include/linux/mm.h:1144! "
                "(VM_BUG_ON_PAGE(page_ref_count(page) == 0))",
                **TASK_FIELDS,
                "trace": ["release_pages", "tlb_flush_mmu"],
            }
        ],
    ),
    "vm_bug_on, VMA": (
        [
            "vma ffff888101234567 start 00007f0011223000 end 00007f0011224000 mm ffff888107654321",
            "prot 8000000000000025 anon_vma 0000000000000000 vm_ops 0000000000000000",
            "pgoff 7f0011223 file 0000000000000000 private_data 0000000000000000",
            "flags: 0x8100077(read|write|exec|mayread|maywrite|mayexec|account)",
            "------------[ cut here ]------------",
            "kernel BUG at mm/mprotect.c:77!",
            *TASK,
            "RIP: 0010:change_protection+0xfb/0x130",
            "Call Trace:",
            " mprotect_fixup+0x33/0x55",
        ],
        [
            {
                "kind": "vm_bug_on",
                "reason": "kernel BUG at mm/mprotect.c:77!",
                "vm_flags": 0x8100077,
                "flags": [],
                "pfn": None,
                "trace": ["change_protection", "mprotect_fixup"],
            }
        ],
    ),
    "vm_warn_on": (
        [
            *DUMP,
            "page dumped because: VM_WARN_ON_ONCE_FOLIO(folio_test_lru(folio))",
            "------------[ cut here ]------------",
            "WARNING: CPU: 5 PID: 4321 at mm/swap.c:77 lru_add+0xa9/0x2ef",
            *TASK,
            "RIP: 0010:lru_add+0xa9/0x2ef",
            "Call Trace:",
            " folio_batch_move_lru+0x11/0x22",
            "---[ end trace 0000000000000000 ]---",
        ],
        [
            {
                "kind": "vm_warn_on",
                **PAGE_FIELDS,
                "reason": "WARNING: CPU: 5 PID: 4321 at mm/swap.c:77 lru_add+0xa9/0x2ef "
                "(VM_WARN_ON_ONCE_FOLIO(folio_test_lru(folio)))",
                **TASK_FIELDS,
                "trace": ["lru_add", "folio_batch_move_lru"],
            }
        ],
    ),
    "vm_warn_on, 7.0": (
        [
            "------------[ cut here ]------------",
            (
                "WARNING: ./include/linux/rmap.h:351 at folio_add_file_rmap_ptes+0x3b8/0x468, "
                "CPU#90: worker-7/4321"
            ),
            "CPU: 90 UID: 0 PID: 4321 Comm: worker-7 Not tainted 7.0.0-test #1",
            "Call trace:",
            " folio_add_file_rmap_ptes+0x3b8/0x468 (P)",
            " set_pte_range+0xd8/0x2f8",
        ],
        [
            {
                "kind": "vm_warn_on",
                "cpu": 90,
                "pid": 4321,
                "comm": "worker-7",
                "kernel_release": "7.0.0-test",
                "trace": ["folio_add_file_rmap_ptes", "set_pte_range"],
            }
        ],
    ),
    "page_dump": (
        [*DUMP, "page dumped because: unmovable page"],
        [{"kind": "page_dump", **PAGE_FIELDS, "reason": "unmovable page"}],
    ),
    "other": (
        [
            "------------[ cut here ]------------",
            "kernel BUG at mm/slub.c:4123!",
            *TASK,
            "RIP: 0010:[<ffffffff81123456>]  [<ffffffff81123456>] kfree+0xfb/0x130",
            "Call Trace:",
            " [<ffffffff81123999>] vfree+0x33/0x55",
            "RIP  [<ffffffff81123456>] kfree+0xfb/0x130",
        ],
        [
            {
                "kind": "other",
                "reason": "kernel BUG at mm/slub.c:4123!",
                **TASK_FIELDS,
                "trace": ["kfree", "vfree"],
            }
        ],
    ),
    "two reports of one task": (
        [
            "BUG: Bad page state in process worker-7  pfn:2b4c1",
            *DUMP,
            "page dumped because: nonzero mapcount",
            *TASK,
            *TRACE,
            "BUG: Bad page map in process worker-7  pte:2b4c1067 pmd:122233067",
            PAGE.replace("mapcount:1", "mapcount:0"),
            "page dumped because: bad pte",
            (
                "addr:00007f0011223000 vm_flags:000000bb anon_vma:0000000000000000 "
                "mapping:0000000000000000 index:3c"
            ),
            *TASK,
            *TRACE,
        ],
        [
            {"kind": "bad_page_state", **PAGE_FIELDS, "reason": "nonzero mapcount", **WHOLE},
            {
                "kind": "bad_page_map",
                "pte": 0x2B4C1067,
                "mapcount": 0,
                "flags": [],
                "reason": "bad pte",
                "addr": 0x7F0011223000,
                **WHOLE,
            },
        ],
    ),
}
