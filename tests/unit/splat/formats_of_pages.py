"""What mm/ prints of a page, a PTE, an mm: each printk() of each era, rendered here with values.

The eras are those of the kernels whose sources were read for it: 2.6.24, 3.4, 3.10, 4.19, 5.x by
their commits, 6.1, 6.12, 7.3.
"""

from __future__ import annotations

from typing import Any

STATE = "BUG: Bad page state in process kworker/u8:3  pfn:1a2b3\n"
MAP = "BUG: Bad page map in process firefox  pte:80000001a2b3c067 pmd:10e4f5067\n"
OLD = "count:-1 mapcount:2 mapping:ffff888012345678 index:0x7f6a1"
OLD_SAID = {"refcount": -1, "mapcount": 2, "mapping": 0xFFFF888012345678, "index": 0x7F6A1}
NEW = "refcount:-1 mapcount:2 mapping:00000000deadbeef index:0x7f6a1 pfn:0x1a2b3"
NEW_SAID = {**OLD_SAID, "mapping": 0xDEADBEEF, "pfn": 0x1A2B3}
FLAGS = "0x17ffffc0000014(uptodate|lru|node=0|zone=2|lastcpupid=0x1fffff)"
FLAGS_SAID = {"flags": ("uptodate", "lru"), "flags_word": 0x17FFFFC0000014}
WORDS = tuple(0x1100000000000000 + 0x111 * place for place in range(8))
RAW = "".join(
    "raw: " + " ".join(f"{word:016x}" for word in WORDS[start : start + 4]) + "\n"
    for start in (0, 4)
)
HEAD = "head: " + " ".join(["dead000000000100"] * 4) + "\n"

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
            STATE + "page:ffffea0001234560 flags:0100000000000868 " + OLD.replace("0x", "") + "\n"
            "Pid: 77, comm: kworker/u8:3 Not tainted 2.6.29 #3\nCall Trace:\n"
            " [<ffffffff80250064>] bad_page+0x4/0x50\n"
        ),
        {**OLD_SAID, "pfn": 0x1A2B3, "pid": 77, "kernel_release": "2.6.29"},
    ),
    (
        "dump_page(), dump_page_flags(), 2.6.33; mem_cgroup_print_bad_page()",
        (
            STATE + f"page:ffffea0001234560 {OLD}\n"
            "page flags: 0x100000000000868(uptodate|lru|swapbacked)\n"
            "pc:ffff880012340000 pc->flags:2 pc->mem_cgroup:ffff88001f2e3000(/lxc/a b)\n"
            "Modules linked in: ext4\n"
            "Pid: 77, comm: kworker/u8:3 Tainted: G    B   W    3.4.65 #1\n"
            "Call Trace:\n [<ffffffff81150064>] bad_page+0x4/0x50\n"
        ),
        {
            **OLD_SAID,
            "flags": ("uptodate", "lru", "swapbacked"),
            "flags_word": 0x100000000000868,
            "memcg": 0xFFFF88001F2E3000,
            "tainted": "GBW",
        },
    ),
    (
        "dump_page(), 3.15: why, and which flags",
        (
            STATE + f"page:ffffea0001234560 {OLD}\n"
            "page flags: 0x14(uptodate|lru)\n"
            "page dumped because: PAGE_FLAGS_CHECK_AT_FREE flag(s) set\n"
            "bad because of flags:\npage flags: 0x4(lru)\n"
            "pc:ffff880012340000 pc->mem_cgroup:ffff88001f2e3000\n"
        ),
        {
            **OLD_SAID,
            "flags": ("uptodate", "lru"),
            "reason": "PAGE_FLAGS_CHECK_AT_FREE flag(s) set",
            "memcg": 0xFFFF88001F2E3000,
        },
    ),
    (
        "dump_page(), 4.2: bad flags in a line of their own, page->mem_cgroup",
        (
            STATE + f"page:ffffea0001234560 {OLD} compound_mapcount: 0\n"
            "flags: 0x2fffc00000000004(referenced)\npage dumped because: nonzero _count\n"
            "bad because of flags:\nflags: 0x4(referenced)\npage->mem_cgroup:ffff88001f2e3000\n"
        ),
        {
            **OLD_SAID,
            "flags": ("referenced",),
            "flags_word": 0x2FFFC00000000004,
            "reason": "nonzero _count",
            "memcg": 0xFFFF88001F2E3000,
        },
    ),
    (
        "__dump_page(), 4.15",
        (
            STATE + f"page:ffffea0001234560 {OLD} compound_mapcount: 3\n"
            f"flags: 0x14(uptodate|lru)\n{RAW}page dumped because: non-NULL mapping\n"
            "page->mem_cgroup:ffff88001f2e3000\nbad because of flags: 0x4(lru)\n"
        ),
        {
            **OLD_SAID,
            "flags": ("uptodate", "lru"),
            "raw": WORDS,
            "reason": "non-NULL mapping",
            "memcg": 0xFFFF88001F2E3000,
        },
    ),
    (
        "__dump_page(), 5.2: whose page it is, in a line of its own; anon and ksm",
        (
            STATE + f"page:ffffea0001234560 ref{OLD} compound_mapcount: 0\nanon \n"
            f"flags: 0x14(uptodate|lru)\n{RAW}page dumped because: nonzero mapcount\n"
        ),
        {**OLD_SAID, "flags": ("uptodate", "lru"), "raw": WORDS, "reason": "nonzero mapcount"},
    ),
    (
        "__dump_page(), 5.4: a file's, with its name",
        (
            STATE + f"page:ffffea0001234560 ref{OLD}\n"
            'xfs_address_space_operations [xfs] name:"a file.log"\n'
            f"flags: 0x14(uptodate|lru)\n{RAW}page dumped because: nonzero mapcount\n"
        ),
        {**OLD_SAID, "aops": "xfs_address_space_operations", "flags": ("uptodate", "lru")},
    ),
    (
        "__dump_page(), 5.4: a file's, without a name",
        (
            STATE + f"page:ffffea0001234560 ref{OLD}\nshmem_aops\n"
            f"flags: 0x14(uptodate|lru)\n{RAW}page dumped because: nonzero mapcount\n"
        ),
        {**OLD_SAID, "aops": "shmem_aops", "flags": ("uptodate", "lru")},
    ),
    (
        "__dump_page(), 5.6: the head in the page's line",
        (
            STATE + f"page:ffffea0001234560 ref{OLD} head:ffffea0001230000 order:9"
            " compound_mapcount:3 compound_pincount:1\n"
            f"ksm flags: {FLAGS} CMA\n{RAW}{HEAD}page dumped because: nonzero mapcount\n"
        ),
        {**OLD_SAID, **FLAGS_SAID, "folio": {"order": 9, "entire_mapcount": 3, "pincount": 1}},
    ),
    (
        "__dump_page(), 5.8: aops of a file's page",
        (
            STATE + f"page:ffffea0001234560 ref{OLD} head:ffffea0001230000 order:2"
            " compound_mapcount:0\n"
            'aops:ext4_da_aops ino:2a dentry name:"x"\n'
            f"flags: {FLAGS}\n{RAW}page dumped because: nonzero mapcount\n"
        ),
        {**OLD_SAID, **FLAGS_SAID, "aops": "ext4_da_aops", "folio": {"order": 2}},
    ),
    (
        "__dump_page(), 5.10; memcg_data after the reason, 5.11",
        (
            STATE + f"page:000000001234abcd {NEW}\n"
            "head:000000001234abcd order:9 compound_mapcount:-1 compound_pincount:0\n"
            f"anon flags: {FLAGS}\n{RAW}page dumped because: page still charged to cgroup\n"
            "pages's memcg:ffff88001f2e3000\n"
        ),
        {
            **NEW_SAID,
            **FLAGS_SAID,
            "raw": WORDS,
            "folio": {"order": 9, "entire_mapcount": -1, "pincount": 0},
            "memcg": 0xFFFF88001F2E3000,
        },
    ),
    (
        "__dump_page(), 5.12: memcg before the flags",
        (
            STATE + f"page:000000001234abcd {NEW}\nmemcg:ffff88001f2e3001\n"
            'aops:ext4_da_aops ino:2a dentry name:"x"\n'
            f"flags: {FLAGS}\n{RAW}page dumped because: nonzero _refcount\n"
        ),
        {**NEW_SAID, **FLAGS_SAID, "memcg": 0xFFFF88001F2E3001, "aops": "ext4_da_aops"},
    ),
    (
        "__dump_page(), 6.2: subpages_mapcount",
        (
            STATE + f"page:000000001234abcd {NEW}\n"
            "head:000000001234abcd order:9 compound_mapcount:5 subpages_mapcount:4"
            " compound_pincount:0\n"
            f"anon flags: {FLAGS}\n{RAW}page dumped because: nonzero subpages_mapcount\n"
        ),
        {
            **NEW_SAID,
            "folio": {"order": 9, "entire_mapcount": 5, "nr_pages_mapped": 4, "pincount": 0},
            "reason": "nonzero subpages_mapcount",
        },
    ),
    (
        "__dump_page(), 6.5: page_type in hex, no names",
        (
            STATE + f"page:000000001234abcd {NEW}\n"
            "head:000000001234abcd order:9 entire_mapcount:5 nr_pages_mapped:4 pincount:0\n"
            f"flags: {FLAGS}\npage_type: 0xffffff7f(buddy)\n{RAW}{HEAD}"
            "page dumped because: nonzero mapcount\n"
        ),
        {
            **NEW_SAID,
            "folio": {"order": 9, "entire_mapcount": 5, "nr_pages_mapped": 4, "pincount": 0},
            "page_type": 0xFFFFFF7F,
            "raw": WORDS,
        },
    ),
    (
        "__dump_folio(), 6.9 to 7.3",
        (
            STATE + f"page: {NEW}\n"
            "head: order:4 mapcount:3 entire_mapcount:0 nr_pages_mapped:2 pincount:1\n"
            "memcg:ffff88001f2e3001\n"
            f"anon flags: {FLAGS} CMA\npage_type: f0(buddy)\n{RAW}{HEAD}{HEAD}"
            "page dumped because: nonzero large_mapcount\n"
        ),
        {
            **NEW_SAID,
            **FLAGS_SAID,
            "folio": {
                "order": 4,
                "mapcount": 3,
                "entire_mapcount": 0,
                "nr_pages_mapped": 2,
                "pincount": 1,
            },
            "memcg": 0xFFFF88001F2E3001,
            "page_type": 0xF0,
            "raw": WORDS,
        },
    ),
    (
        "__dump_page(), 6.9: a page that is no folio's",
        (
            STATE + f"page does not match folio\npage: {NEW}\n"
            f"flags: {FLAGS}\n{RAW}page dumped because: corrupted mapping in tail page\n"
        ),
        {**NEW_SAID, "raw": WORDS, "reason": "corrupted mapping in tail page"},
    ),
    (
        "dump_mapping(), 5.16: mappings that cannot be read",
        (
            STATE + f"page:000000001234abcd {NEW}\ninvalid mapping:dead000000000400\n"
            f"flags: {FLAGS}\n{RAW}page dumped because: non-NULL mapping\n"
        ),
        {**NEW_SAID, **FLAGS_SAID, "reason": "non-NULL mapping"},
    ),
    (
        "dump_mapping(), 5.16: an inode that cannot be read",
        (
            STATE + f"page:000000001234abcd {NEW}\naops:0x1 invalid inode:dead000000000400\n"
            f"flags: {FLAGS}\n{RAW}page dumped because: non-NULL mapping\n"
        ),
        {**NEW_SAID, **FLAGS_SAID, "reason": "non-NULL mapping"},
    ),
    (
        "__dump_page(), 4.18: a struct page that was never initialised",
        (
            STATE + "page:ffffea0001234560 is uninitialized and poisoned\n"
            f"{RAW}page dumped because: nonzero _refcount\n"
        ),
        {"pfn": 0x1A2B3, "refcount": None, "raw": WORDS, "reason": "nonzero _refcount"},
    ),
)
