"""What mm/ prints of a page, a PTE, an mm: each printk() of each era, rendered here with values.

The eras are those of the kernels whose sources were read for it: 2.6.24, 3.4, 3.10, 4.19, 5.x by
their commits, 6.1, 6.12, 7.3.
"""

from __future__ import annotations

from typing import Any

STATE = "BUG: Bad page state in process kworker/u8:3  pfn:1a2b3\n"
MAP = "BUG: Bad page map in process firefox  pte:80000001a2b3c067 pmd:10e4f5067\n"
_OLD = "count:-1 mapcount:2 mapping:ffff888012345678 index:0x7f6a1"
_OLD_SAID = {"refcount": -1, "mapcount": 2, "mapping": 0xFFFF888012345678, "index": 0x7F6A1}
_NEW = "refcount:-1 mapcount:2 mapping:00000000deadbeef index:0x7f6a1 pfn:0x1a2b3"
_NEW_SAID = {**_OLD_SAID, "mapping": 0xDEADBEEF, "pfn": 0x1A2B3}
_FLAGS = "0x17ffffc0000014(uptodate|lru|node=0|zone=2|lastcpupid=0x1fffff)"
_FLAGS_SAID = {"flags": ("uptodate", "lru"), "flags_word": 0x17FFFFC0000014}
_WORDS = tuple(0x1100000000000000 + 0x111 * place for place in range(8))
_RAW = "".join(
    "raw: " + " ".join(f"{word:016x}" for word in _WORDS[start : start + 4]) + "\n"
    for start in (0, 4)
)
_HEAD = "head: " + " ".join(["dead000000000100"] * 4) + "\n"

# (what prints it and since when, what is printed, what is read)
PAGES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    (
        "bad_page(), 2.6.16",
        (
            "Bad page state at free_hot_cold_page (in process 'X.org server', page c1ab2340)\n"
            "flags:0x80000014 mapping:c9abcdef mapcount:2 count:-1\n"
            "Backtrace:\n [<c0123456>] bad_page+0x4/0x50\n"
        ),
        {
            "kind": "bad_page_state",
            "process": "X.org server",
            "mapping": 0xC9ABCDEF,
            "mapcount": 2,
            "refcount": -1,
        },
    ),
    (
        "bad_page(), 2.6.19",
        (
            "Bad page state in process 'X.org server'\n"
            "page:c1ab2340 flags:0x80000014 mapping:c9abcdef mapcount:2 count:-1\n"
            "Trying to fix it up, but a reboot is needed\nBacktrace:\n"
            "\nCall Trace:\n [<ffffffff80250064>] bad_page+0x4/0x50\n"
        ),
        {
            "kind": "bad_page_state",
            "process": "X.org server",
            "mapping": 0xC9ABCDEF,
            "mapcount": 2,
            "refcount": -1,
            "frames": ["bad_page"],
        },
    ),
    (
        "bad_page(), 2.6.29",
        (
            STATE + "page:ffffea0001234560 flags:0100000000000868 " + _OLD.replace("0x", "") + "\n"
            "Pid: 77, comm: kworker/u8:3 Not tainted 2.6.29 #3\nCall Trace:\n"
            " [<ffffffff80250064>] bad_page+0x4/0x50\n"
        ),
        {**_OLD_SAID, "pfn": 0x1A2B3, "pid": 77, "kernel_release": "2.6.29"},
    ),
    (
        "dump_page(), dump_page_flags(), 2.6.33; mem_cgroup_print_bad_page()",
        (
            STATE + f"page:ffffea0001234560 {_OLD}\n"
            "page flags: 0x100000000000868(uptodate|lru|swapbacked)\n"
            "pc:ffff880012340000 pc->flags:2 pc->mem_cgroup:ffff88001f2e3000(/lxc/a b)\n"
            "Modules linked in: ext4\n"
            "Pid: 77, comm: kworker/u8:3 Tainted: G    B   W    3.4.65 #1\n"
            "Call Trace:\n [<ffffffff81150064>] bad_page+0x4/0x50\n"
        ),
        {
            **_OLD_SAID,
            "flags": ("uptodate", "lru", "swapbacked"),
            "flags_word": 0x100000000000868,
            "memcg": 0xFFFF88001F2E3000,
            "tainted": "GBW",
        },
    ),
    (
        "dump_page(), 3.15: why, and which flags",
        (
            STATE + f"page:ffffea0001234560 {_OLD}\n"
            "page flags: 0x14(uptodate|lru)\n"
            "page dumped because: PAGE_FLAGS_CHECK_AT_FREE flag(s) set\n"
            "bad because of flags:\npage flags: 0x4(lru)\n"
            "pc:ffff880012340000 pc->mem_cgroup:ffff88001f2e3000\n"
        ),
        {
            **_OLD_SAID,
            "flags": ("uptodate", "lru"),
            "reason": "PAGE_FLAGS_CHECK_AT_FREE flag(s) set",
            "memcg": 0xFFFF88001F2E3000,
        },
    ),
    (
        "dump_page(), 4.2: bad flags in a line of their own, page->mem_cgroup",
        (
            STATE + f"page:ffffea0001234560 {_OLD} compound_mapcount: 0\n"
            "flags: 0x2fffc00000000004(referenced)\npage dumped because: nonzero _count\n"
            "bad because of flags:\nflags: 0x4(referenced)\npage->mem_cgroup:ffff88001f2e3000\n"
        ),
        {
            **_OLD_SAID,
            "flags": ("referenced",),
            "flags_word": 0x2FFFC00000000004,
            "reason": "nonzero _count",
            "memcg": 0xFFFF88001F2E3000,
        },
    ),
    (
        "__dump_page(), 4.15",
        (
            STATE + f"page:ffffea0001234560 {_OLD} compound_mapcount: 3\n"
            f"flags: 0x14(uptodate|lru)\n{_RAW}page dumped because: non-NULL mapping\n"
            "page->mem_cgroup:ffff88001f2e3000\nbad because of flags: 0x4(lru)\n"
        ),
        {
            **_OLD_SAID,
            "flags": ("uptodate", "lru"),
            "raw": _WORDS,
            "reason": "non-NULL mapping",
            "memcg": 0xFFFF88001F2E3000,
        },
    ),
    (
        "__dump_page(), 5.2: whose page it is, in a line of its own; anon and ksm",
        (
            STATE + f"page:ffffea0001234560 ref{_OLD} compound_mapcount: 0\nanon \n"
            f"flags: 0x14(uptodate|lru)\n{_RAW}page dumped because: nonzero mapcount\n"
        ),
        {**_OLD_SAID, "flags": ("uptodate", "lru"), "raw": _WORDS, "reason": "nonzero mapcount"},
    ),
    (
        "__dump_page(), 5.4: a file's, with its name",
        (
            STATE + f"page:ffffea0001234560 ref{_OLD}\n"
            'xfs_address_space_operations [xfs] name:"a file.log"\n'
            f"flags: 0x14(uptodate|lru)\n{_RAW}page dumped because: nonzero mapcount\n"
        ),
        {**_OLD_SAID, "aops": "xfs_address_space_operations", "flags": ("uptodate", "lru")},
    ),
    (
        "__dump_page(), 5.4: a file's, without a name",
        (
            STATE + f"page:ffffea0001234560 ref{_OLD}\nshmem_aops\n"
            f"flags: 0x14(uptodate|lru)\n{_RAW}page dumped because: nonzero mapcount\n"
        ),
        {**_OLD_SAID, "aops": "shmem_aops", "flags": ("uptodate", "lru")},
    ),
    (
        "__dump_page(), 5.6: the head in the page's line",
        (
            STATE + f"page:ffffea0001234560 ref{_OLD} head:ffffea0001230000 order:9"
            " compound_mapcount:3 compound_pincount:1\n"
            f"ksm flags: {_FLAGS} CMA\n{_RAW}{_HEAD}page dumped because: nonzero mapcount\n"
        ),
        {**_OLD_SAID, **_FLAGS_SAID, "folio": {"order": 9, "entire_mapcount": 3, "pincount": 1}},
    ),
    (
        "__dump_page(), 5.8: aops of a file's page",
        (
            STATE + f"page:ffffea0001234560 ref{_OLD} head:ffffea0001230000 order:2"
            " compound_mapcount:0\n"
            'aops:ext4_da_aops ino:2a dentry name:"x"\n'
            f"flags: {_FLAGS}\n{_RAW}page dumped because: nonzero mapcount\n"
        ),
        {**_OLD_SAID, **_FLAGS_SAID, "aops": "ext4_da_aops", "folio": {"order": 2}},
    ),
    (
        "__dump_page(), 5.10; memcg_data after the reason, 5.11",
        (
            STATE + f"page:000000001234abcd {_NEW}\n"
            "head:000000001234abcd order:9 compound_mapcount:-1 compound_pincount:0\n"
            f"anon flags: {_FLAGS}\n{_RAW}page dumped because: page still charged to cgroup\n"
            "pages's memcg:ffff88001f2e3000\n"
        ),
        {
            **_NEW_SAID,
            **_FLAGS_SAID,
            "raw": _WORDS,
            "folio": {"order": 9, "entire_mapcount": -1, "pincount": 0},
            "memcg": 0xFFFF88001F2E3000,
        },
    ),
    (
        "__dump_page(), 5.12: memcg before the flags",
        (
            STATE + f"page:000000001234abcd {_NEW}\nmemcg:ffff88001f2e3001\n"
            'aops:ext4_da_aops ino:2a dentry name:"x"\n'
            f"flags: {_FLAGS}\n{_RAW}page dumped because: nonzero _refcount\n"
        ),
        {**_NEW_SAID, **_FLAGS_SAID, "memcg": 0xFFFF88001F2E3001, "aops": "ext4_da_aops"},
    ),
    (
        "__dump_page(), 6.2: subpages_mapcount",
        (
            STATE + f"page:000000001234abcd {_NEW}\n"
            "head:000000001234abcd order:9 compound_mapcount:5 subpages_mapcount:4"
            " compound_pincount:0\n"
            f"anon flags: {_FLAGS}\n{_RAW}page dumped because: nonzero subpages_mapcount\n"
        ),
        {
            **_NEW_SAID,
            "folio": {"order": 9, "entire_mapcount": 5, "nr_pages_mapped": 4, "pincount": 0},
            "reason": "nonzero subpages_mapcount",
        },
    ),
    (
        "__dump_page(), 6.5: page_type in hex, no names",
        (
            STATE + f"page:000000001234abcd {_NEW}\n"
            "head:000000001234abcd order:9 entire_mapcount:5 nr_pages_mapped:4 pincount:0\n"
            f"flags: {_FLAGS}\npage_type: 0xffffff7f(buddy)\n{_RAW}{_HEAD}"
            "page dumped because: nonzero mapcount\n"
        ),
        {
            **_NEW_SAID,
            "folio": {"order": 9, "entire_mapcount": 5, "nr_pages_mapped": 4, "pincount": 0},
            "page_type": 0xFFFFFF7F,
            "raw": _WORDS,
        },
    ),
    (
        "__dump_folio(), 6.9 to 7.3",
        (
            STATE + f"page: {_NEW}\n"
            "head: order:4 mapcount:3 entire_mapcount:0 nr_pages_mapped:2 pincount:1\n"
            "memcg:ffff88001f2e3001\n"
            f"anon flags: {_FLAGS} CMA\npage_type: f0(buddy)\n{_RAW}{_HEAD}{_HEAD}"
            "page dumped because: nonzero large_mapcount\n"
        ),
        {
            **_NEW_SAID,
            **_FLAGS_SAID,
            "folio": {
                "order": 4,
                "mapcount": 3,
                "entire_mapcount": 0,
                "nr_pages_mapped": 2,
                "pincount": 1,
            },
            "memcg": 0xFFFF88001F2E3001,
            "page_type": 0xF0,
            "raw": _WORDS,
        },
    ),
    (
        "__dump_page(), 6.9: a page that is no folio's",
        (
            STATE + f"page does not match folio\npage: {_NEW}\n"
            f"flags: {_FLAGS}\n{_RAW}page dumped because: corrupted mapping in tail page\n"
        ),
        {**_NEW_SAID, "raw": _WORDS, "reason": "corrupted mapping in tail page"},
    ),
    (
        "dump_mapping(), 5.16: mappings that cannot be read",
        (
            STATE + f"page:000000001234abcd {_NEW}\ninvalid mapping:dead000000000400\n"
            f"flags: {_FLAGS}\n{_RAW}page dumped because: non-NULL mapping\n"
        ),
        {**_NEW_SAID, **_FLAGS_SAID, "reason": "non-NULL mapping"},
    ),
    (
        "dump_mapping(), 5.16: an inode that cannot be read",
        (
            STATE + f"page:000000001234abcd {_NEW}\naops:0x1 invalid inode:dead000000000400\n"
            f"flags: {_FLAGS}\n{_RAW}page dumped because: non-NULL mapping\n"
        ),
        {**_NEW_SAID, **_FLAGS_SAID, "reason": "non-NULL mapping"},
    ),
    (
        "__dump_page(), 4.18: a struct page that was never initialised",
        (
            STATE + "page:ffffea0001234560 is uninitialized and poisoned\n"
            f"{_RAW}page dumped because: nonzero _refcount\n"
        ),
        {"pfn": 0x1A2B3, "refcount": None, "raw": _WORDS, "reason": "nonzero _refcount"},
    ),
    (
        "print_bad_pte(), 2.6.24",
        (
            "Bad pte = 80000001a2b3c067, process = ???, vm_flags = 100073, vaddr = 2b1234567000\n"
            "\nCall Trace:\n [<ffffffff80250064>] vm_normal_page+0x4/0x50\n"
        ),
        {
            "kind": "bad_page_map",
            "pte": 0x80000001A2B3C067,
            "process": "???",
            "vm_flags": 0x100073,
            "addr": 0x2B1234567000,
            "frames": ["vm_normal_page"],
        },
    ),
    (
        "print_bad_pte(), 2.6.29: handlers in lines of their own",
        (
            MAP + f"page:ffffea0001234560 {_OLD}\npage flags: 0x14(uptodate|lru)\n"
            "addr:00007f1234567000 vm_flags:00100073 anon_vma:ffff88001234567a "
            "mapping:ffff880087654321 index:7f1234567\n"
            "vma->vm_ops->fault: filemap_fault+0x0/0x450\n"
            "vma->vm_file->f_op->mmap: ext4_file_mmap+0x0/0x60 [ext4]\n"
            "Pid: 99, comm: firefox Not tainted 3.2.0 #1\n"
            "Call Trace:\n [<ffffffff81150064>] print_bad_pte+0x4/0x50\n"
        ),
        {
            **_OLD_SAID,
            "pte": 0x80000001A2B3C067,
            "pmd": 0x10E4F5067,
            "addr": 0x7F1234567000,
            "vm_flags": 0x100073,
            "vm_fault": "filemap_fault",
            "file_mmap": "ext4_file_mmap",
            "pid": 99,
            "frames": ["print_bad_pte"],
        },
    ),
    (
        "print_bad_pte(), 3.19: handlers in one line",
        (
            MAP + "addr:00007f1234567000 vm_flags:00100073 anon_vma:          (null) "
            "mapping:ffff880087654321 index:7f1234567\n"
            "file:a b.so fault:filemap_fault mmap:ext4_file_mmap readpage:ext4_readpage\n"
        ),
        {
            "addr": 0x7F1234567000,
            "mapping": 0xFFFF880087654321,
            "index": 0x7F1234567,
            "file": "a b.so",
            "vm_fault": "filemap_fault",
            "file_mmap": "ext4_file_mmap",
        },
    ),
    (
        "print_bad_pte(), 5.19: read_folio; no file",
        (
            MAP + "addr:00007f1234567000 vm_flags:00100073 anon_vma:ffff88001234567a "
            "mapping:0000000000000000 index:7f1234567\n"
            "file:(null) fault:0x0 mmap:0x0 read_folio:0x0\n"
        ),
        {"addr": 0x7F1234567000, "mapping": 0, "file": None, "vm_fault": None, "file_mmap": None},
    ),
    (
        "print_bad_page_map(), 6.18",
        (
            "BUG: Bad page map in process firefox  pte:80000001a2b3c067\n"
            "pgd:10b1ce067 p4d:10b1ce067 pud:10e4f4067 pmd:10e4f5067\n"
            f"page: {_NEW}\nflags: {_FLAGS}\n{_RAW}page dumped because: bad page map\n"
            "addr:00007f1234567000 vm_flags:00100073 anon_vma:ffff88001234567a "
            "mapping:ffff880087654321 index:7f1 (file) 7f1234567 (anon)\n"
            "file:libx.so fault:filemap_fault mmap:0x0 mmap_prepare: ext4_file_mmap_prepare "
            "read_folio:ext4_read_folio\n"
        ),
        {
            **_NEW_SAID,
            "pte": 0x80000001A2B3C067,
            "pmd": 0x10E4F5067,
            "reason": "bad page map",
            "file": "libx.so",
            "vm_fault": "filemap_fault",
            "file_mmap": None,
        },
    ),
    (
        "print_bad_page_map(), 6.18: of a PMD, on a machine of 128-bit entries",
        (
            "BUG: Bad page map in process firefox  pmd:80000001a2c000e7\n"
            "pgd:10b1ce067 p4d:10b1ce067 pud:10e4f4067\n"
            "addr:00007f1234567000 vm_flags:00100073 anon_vma:ffff88001234567a "
            "mapping:ffff880087654321 index:7f1\n"
        ),
        {"pte": None, "pmd": 0x80000001A2C000E7, "addr": 0x7F1234567000, "index": 0x7F1},
    ),
    (
        "filemap_unaccount_folio(), 4.5",
        (
            "BUG: Bad page cache in process tar  pfn:1a2b3\n"
            f"page:ffffea0001234560 {_OLD}\nflags: 0x14(uptodate|lru)\n"
            "page dumped because: still mapped when deleted\n"
        ),
        {"kind": "bad_page_cache", **_OLD_SAID, "reason": "still mapped when deleted"},
    ),
    (
        "check_mm(), 3.4",
        "BUG: Bad rss-counter state mm:ffff88001234567a idx:1 val:-3\n",
        {"mm": 0xFFFF88001234567A, "rss_type": "MM_ANONPAGES", "rss_value": -3},
    ),
    (
        "check_mm(), 5.4",
        "BUG: Bad rss-counter state mm:00000000deadbeef type:MM_SHMEMPAGES val:512\n",
        {"mm": 0xDEADBEEF, "rss_type": "MM_SHMEMPAGES", "rss_value": 512},
    ),
    (
        "check_mm(), 6.16",
        (
            "BUG: Bad rss-counter state mm:00000000deadbeef type:MM_FILEPAGES val:-1 "
            "Comm:Web Content Pid:4242\n"
        ),
        {"rss_type": "MM_FILEPAGES", "rss_value": -1, "comm": "Web Content", "pid": 4242},
    ),
    *(
        (
            f"check_mm(): {what}",
            f"BUG: non-zero {what} on freeing mm: {value}\n",
            {
                "kind": "nonzero_page_tables",
                "reason": f"BUG: non-zero {what} on freeing mm: {value}",
            },
        )
        for what, value in (("nr_ptes", 1), ("nr_pmds", 2), ("pgtables_bytes", -4096))
    ),
    *(
        (
            f"pmd_ERROR() and the like: {line}",
            line + "\n",
            {"kind": "bad_page_table", "reason": line.partition(": ")[2].rstrip(".")},
        )
        for line in (
            "mm/memory.c:123: bad pmd ffff88001234567a(0000000012345067).",
            "arch/x86/mm/hugetlbpage.c:12: bad pud 00000000deadbeef(8000000123400067).",
            "mm/pgtable-generic.c:54: bad p4d 000000001234abcd(8000000123400067).",
            "mm/pgtable-generic.c:40: bad pgd 80000d01234567a0.",
            "mm/memory.c:411: bad pmd 00012345.",
            "mm/memory.c:411: bad pte 8123456789abcdef.",
            "fs/exec.c:3: bad pte 0000000012345067.",
            "kernel/fork.c:77: bad pgd c0012345.",
        )
    ),
    *(
        (
            f"swap entries: {line}",
            line + "\n",
            {"kind": "bad_swap_entry", "reason": line.rpartition(": ")[2]},
        )
        for line in (
            "swap_free: Unused swap offset entry 0000a7c0",
            "swap_free: Bad swap offset entry 4000000000",
            "swap_free: Unused swap file entry 20000000001234",
            "swap_dup: Bad swap file entry 10000000",
            "swap_info_get: Bad swap file entry 780000000001",
            "get_swap_device: Bad swap file entry 3ffffffffffff",
            "_swap_info_get: Bad swap offset entry 0000a7c0",
            "swap_entries_check: Bad swap file entry 3ffffffffffff",
            "Bad swap file entry 3ffffffffffff",  # swap_dup_entry_direct() names no function
        )
    ),
    (
        "page_remove_rmap(), 2.6.24",
        (
            "Eeek! page_mapcount(page) went negative! (-1)\n"
            "  page pfn = 1a2b3\n  page->flags = 868\n  page->count = 1\n"
            "  page->mapping = ffff810012345678\n  vma->vm_ops = generic_file_vm_ops+0x0/0x60\n"
            "  vma->vm_ops->nopage = filemap_nopage+0x0/0x350\n"
            "  vma->vm_ops->fault = filemap_fault+0x0/0x350\n"
            "  vma->vm_file->f_op->mmap = ext3_file_mmap+0x0/0x40 [ext3]\n"
            "------------[ cut here ]------------\nkernel BUG at mm/rmap.c:658!\n"
            "invalid opcode: 0000 [1] SMP\nCPU 1\n"
            "Pid: 55, comm: sh Not tainted 2.6.24 #1\n"
            "RIP: 0010:[<ffffffff80270064>]  [<ffffffff80270064>] page_remove_rmap+0x64/0x80\n"
        ),
        {
            "kind": "other",
            "mapcount": -1,
            "pfn": 0x1A2B3,
            "refcount": 1,
            "mapping": 0xFFFF810012345678,
            "pid": 55,
            "frames": ["page_remove_rmap"],
        },
    ),
    (
        "VM_BUG_ON_VMA(), 3.18",
        (
            "vma ffff88001234567a start 00007f1234567000 end 00007f1234569000\n"
            "next ffff88001234567b prev ffff88001234567c mm ffff88001234567d\n"
            "prot 8000000000000025 anon_vma ffff88001234567e vm_ops           (null)\n"
            "pgoff 7f1234567 file           (null) private_data           (null)\n"
            "flags: 0x8100073(read|write|mayread|maywrite|mayexec|account)\n"
            "------------[ cut here ]------------\nkernel BUG at mm/mmap.c:123!\n"
        ),
        {"kind": "vm_bug_on", "vm_flags": 0x8100073},
    ),
    (
        "VM_BUG_ON_VMA(), 6.15: a reference count",
        (
            "vma ffff88001234567a start 00007f1234567000 end 00007f1234569000 "
            "mm ffff88001234567d\n"
            "prot 8000000000000025 anon_vma ffff88001234567e vm_ops 0000000000000000\n"
            "pgoff 7f1234567 file 0000000000000000 private_data 0000000000000000\nrefcnt 1\n"
            "flags: 0x8100073(read|write|mayread|maywrite|mayexec|account)\n"
            "------------[ cut here ]------------\nkernel BUG at mm/vma.c:123!\n"
        ),
        {"kind": "vm_bug_on", "vm_flags": 0x8100073},
    ),
    *(
        (
            f"VM_BUG_ON_MM(), {name}",
            (
                f"mm ffffffe001018600 {first}\n"
                f"{second}pgd ffffffe001074000 mm_users 2 mm_count 1 pgtables_bytes 8192 "
                "map_count 0\n"
                "hiwater_rss 0 hiwater_vm 0 total_vm 0 locked_vm 0\n"
                "pinned_vm 0 data_vm 0 exec_vm 0 stack_vm 0\n"
                "start_code ffffffe000200000 end_code ffffffe00084acc2 start_data 0 end_data 7\n"
                "start_brk 0 brk ffffffe0010bd6d0 start_stack 0\n"
                "arg_start 0 arg_end 0 env_start 0 env_end 0\n"
                f"binfmt 0000000000000000 flags 0{third}\nioctx_table 0000000000000000\n"
                "owner ffffffe001018000 exe_file 0000000000000000\n"
                "numa_next_scan 0 numa_scan_offset 0 numa_scan_seq 0\ntlb_flush_pending 0\n"
                "def_flags: 0x0()\n------------[ cut here ]------------\n"
                "kernel BUG at include/linux/mmap_lock.h:81!\n"
            ),
            {"kind": "vm_bug_on", "reason": "kernel BUG at include/linux/mmap_lock.h:81!"},
        )
        for name, first, second, third in (
            (
                "4.19",
                "mmap 0000000000000000 seqnum 0 task_size 0",
                (
                    "get_unmapped_area 0000000000000000\n"
                    "mmap_base 0 mmap_legacy_base 0 highest_vm_end 0\n"
                ),
                " core_state 0000000000000000",
            ),
            ("7.3", "task_size 0", "mmap_base 0 mmap_legacy_base 0\n", ""),
        )
    ),
    (
        "VM_BUG_ON_PAGE(), 3.14",
        (
            f"page:ffffea0001234560 {_OLD}\npage flags: 0x14(uptodate|lru)\n"
            "page dumped because: VM_BUG_ON_PAGE(PageTail(page))\n"
            "------------[ cut here ]------------\nkernel BUG at include/linux/mm.h:123!\n"
        ),
        {
            "kind": "vm_bug_on",
            **_OLD_SAID,
            "reason": "kernel BUG at include/linux/mm.h:123! (VM_BUG_ON_PAGE(PageTail(page)))",
        },
    ),
    (
        "VM_WARN_ON_ONCE_FOLIO(), 6.9; WARN(), 6.18",
        (
            f"page: {_NEW}\nflags: {_FLAGS}\n{_RAW}"
            "page dumped because: VM_WARN_ON_FOLIO(folio_test_large(folio))\n"
            "------------[ cut here ]------------\n"
            "WARNING: mm/rmap.c:321 at folio_remove_rmap_ptes+0x12/0x3a0, CPU#3: Web Content/4242\n"
        ),
        {
            "kind": "vm_warn_on",
            **_NEW_SAID,
            "cpu": 3,
            "comm": "Web Content",
            "pid": 4242,
        },
    ),
    (
        "__warn(), 6.18, without its file",
        (
            "WARNING: at folio_remove_rmap_ptes+0x12/0x3a0, CPU#3: Web Content/4242\n"
            "Modules linked in:\nCPU: 3 UID: 0 PID: 4242 Comm: Web Content Not tainted 7.3.4 #1 "
            "PREEMPT(full)  Debian 7.3.4-1 0123456789abcdef0123\n"
        ),
        {"kind": "other", "cpu": 3, "comm": "Web Content", "pid": 4242, "kernel_release": "7.3.4"},
    ),
)

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
