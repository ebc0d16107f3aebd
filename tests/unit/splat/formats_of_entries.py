"""What kernels print of a bad page-table entry, of other things of an mm, and beside a page.

The eras are those of `formats_of_pages`.
"""

from __future__ import annotations

from typing import Any

from tests.unit.splat.formats_of_pages import FLAGS, MAP, NEW, NEW_SAID, OLD, OLD_SAID, RAW

ENTRIES: tuple[tuple[str, str, dict[str, Any]], ...] = (
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
            MAP + f"page:ffffea0001234560 {OLD}\npage flags: 0x14(uptodate|lru)\n"
            "addr:00007f1234567000 vm_flags:00100073 anon_vma:ffff88001234567a "
            "mapping:ffff880087654321 index:7f1234567\n"
            "vma->vm_ops->fault: filemap_fault+0x0/0x450\n"
            "vma->vm_file->f_op->mmap: ext4_file_mmap+0x0/0x60 [ext4]\n"
            "Pid: 99, comm: firefox Not tainted 3.2.0 #1\n"
            "Call Trace:\n [<ffffffff81150064>] print_bad_pte+0x4/0x50\n"
        ),
        {
            **OLD_SAID,
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
            f"page: {NEW}\nflags: {FLAGS}\n{RAW}page dumped because: bad page map\n"
            "addr:00007f1234567000 vm_flags:00100073 anon_vma:ffff88001234567a "
            "mapping:ffff880087654321 index:7f1 (file) 7f1234567 (anon)\n"
            "file:libx.so fault:filemap_fault mmap:0x0 mmap_prepare: ext4_file_mmap_prepare "
            "read_folio:ext4_read_folio\n"
        ),
        {
            **NEW_SAID,
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
            f"page:ffffea0001234560 {OLD}\nflags: 0x14(uptodate|lru)\n"
            "page dumped because: still mapped when deleted\n"
        ),
        {"kind": "bad_page_cache", **OLD_SAID, "reason": "still mapped when deleted"},
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
            f"page:ffffea0001234560 {OLD}\npage flags: 0x14(uptodate|lru)\n"
            "page dumped because: VM_BUG_ON_PAGE(PageTail(page))\n"
            "------------[ cut here ]------------\nkernel BUG at include/linux/mm.h:123!\n"
        ),
        {
            "kind": "vm_bug_on",
            **OLD_SAID,
            "reason": "kernel BUG at include/linux/mm.h:123! (VM_BUG_ON_PAGE(PageTail(page)))",
        },
    ),
    (
        "VM_WARN_ON_ONCE_FOLIO(), 6.9; WARN(), 6.18",
        (
            f"page: {NEW}\nflags: {FLAGS}\n{RAW}"
            "page dumped because: VM_WARN_ON_FOLIO(folio_test_large(folio))\n"
            "------------[ cut here ]------------\n"
            "WARNING: mm/rmap.c:321 at folio_remove_rmap_ptes+0x12/0x3a0, CPU#3: Web Content/4242\n"
        ),
        {
            "kind": "vm_warn_on",
            **NEW_SAID,
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
