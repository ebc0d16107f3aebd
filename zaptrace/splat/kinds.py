"""The kinds of reports: one table, one row a form of headline, of all kernels since 2.6.

What a headline says stands in the named groups of its pattern, which are the
names of the Splat's fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from zaptrace.model.splats import Splat


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One form of headline.

    Attributes:
        name: the splat's kind, as `splat --json` has it.
        title: the kind in a listing.
        marks: one of these stands in each such headline: a cheap test before the pattern.
        headline: found where the kernel's words begin, after every prefix; bounded.
        task_before: a task's name and a colon precede it.
        follows: the lines that can follow, by name (zaptrace.splat.attributes).
        one_line: nothing follows: the next line is another message.
        kernel_only: users write such words too: a prefix must say that the kernel did.
        dump_before: a dump can precede, which says `reason` (VM_BUG_ON_PAGE() and the like).
        about_pages: a page, a page table, a swap entry or an mm's counters are wrong.
    """

    name: str
    title: str
    marks: tuple[str, ...]
    headline: re.Pattern[str]
    task_before: bool
    follows: tuple[str, ...]
    one_line: bool
    kernel_only: bool
    dump_before: bool
    about_pages: bool


_OLD_PAGE = ("page pfn", "page flags", "page count", "page mapping", "page vma", "page memcg")
_PAGE = ("page", *_OLD_PAGE, "folio", "memcg", "aops", "flags", "page_type", "raw")
_DUMP = (*_PAGE, "reason", "owner", "allocated", "freed")
OF_PAGES = frozenset(_DUMP)
"""Names of the lines that a page's dump can have."""
_OLD_TASK = ("old task", "old cpu", "old taint", "old release", "old process")
_OLD_STACK = ("task", *_OLD_TASK, "trace")
_TASK = (*_OLD_STACK, "hardware", "trace's end")
_OOPS = ("access", "fault", *_TASK)
_BEGIN = r"(?<![A-Za-z_])(?<!Oops - )"  # arm: "Internal error: Oops - BUG: 0 [#1]"
_HEX = r"(?:0x)?[0-9a-fA-F]{1,16}\b"
_IN_PROCESS = r" in process (?P<process>.{0,64}?)"

# Headers of which every BUG() and WARN() is one of VM_BUG_ON*, VM_WARN_ON*, inlined.
_VM_HEADER = r"include/linux/(?:rmap|page-flags|page_ref|mm|mm_inline|huge_mm|pagemap|swapops)\.h"
_WARNING_AT = r"WARNING: (?:CPU: (?P<cpu>[0-9]{1,5}) PID: (?P<pid>[0-9]{1,10}) )?(?:at )?(?:\./)?"


def _pattern(*forms: str) -> re.Pattern[str]:
    return re.compile("|".join(forms), re.ASCII)


KINDS = (
    Kind(
        # bad_page() in mm/page_alloc.c.
        name="bad_page_state",
        title="Bad page state",
        marks=("BUG: Bad page state",),
        headline=_pattern(
            rf"{_BEGIN}BUG: Bad page state(?:{_IN_PROCESS} {{1,2}}pfn: ?(?P<pfn>{_HEX})"
            r"|(?= in process |:| in$|$))",
        ),
        task_before=False,
        follows=(*_DUMP, *_TASK),
        one_line=False,
        kernel_only=False,
        dump_before=False,
        about_pages=True,
    ),
    Kind(
        # bad_page() before 2.6.29, which named no pfn at all.
        name="bad_page_state",
        title="Bad page state",
        marks=("Bad page state ",),
        headline=_pattern(
            r"Bad page state (?:at \w{1,64} \()?in process '(?P<process>.{0,64}?)'"
            r"(?:, page \S{1,20}\))?",
        ),
        task_before=False,
        follows=("page", "page flags", "repair", *_OLD_STACK),
        one_line=False,
        kernel_only=False,
        dump_before=False,
        about_pages=True,
    ),
    Kind(
        # print_bad_pte(), since "mm/memory: factor out common code from vm_normal_page_*()"
        # (6.18) print_bad_page_map(), which names the level.
        name="bad_page_map",
        title="Bad page map",
        marks=("BUG: Bad page map",),
        headline=_pattern(
            rf"{_BEGIN}BUG: Bad page map(?:{_IN_PROCESS} {{1,2}}(?=(?:pte|pmd|pud|p4d|pgd):)"
            rf"(?:pte: ?(?P<pte>{_HEX}))?(?: ?pmd: ?(?P<pmd>{_HEX}))?|(?= in process |:| in$|$))",
        ),
        task_before=False,
        follows=(*_DUMP, "tables", "vma", "file", *_TASK),
        one_line=False,
        kernel_only=False,
        dump_before=False,
        about_pages=True,
    ),
    Kind(
        # print_bad_pte() before 2.6.29.
        name="bad_page_map",
        title="Bad page map",
        marks=("Bad pte = ",),
        headline=_pattern(
            rf"Bad pte = (?P<pte>{_HEX}), process = (?P<process>.{{0,64}}?), "
            rf"vm_flags = (?P<vm_flags>{_HEX}), vaddr = (?P<addr>{_HEX})",
        ),
        task_before=False,
        follows=_OLD_STACK,
        one_line=False,
        kernel_only=False,
        dump_before=False,
        about_pages=True,
    ),
    Kind(
        # filemap_unaccount_folio() in mm/filemap.c.
        name="bad_page_cache",
        title="Bad page cache",
        marks=("BUG: Bad page cache",),
        headline=_pattern(
            rf"{_BEGIN}BUG: Bad page cache(?:{_IN_PROCESS} {{1,2}}pfn: ?(?P<pfn>{_HEX})"
            r"|(?= in process |:| in$|$))"
        ),
        task_before=False,
        follows=(*_DUMP, *_TASK),
        one_line=False,
        kernel_only=False,
        dump_before=False,
        about_pages=True,
    ),
    Kind(
        # check_mm() in kernel/fork.c: "idx:%d" before "fork: improve error message for
        # corrupted page tables" (5.4); " Comm:%s Pid:%d" since 6.16.
        name="bad_rss_counter",
        title="Bad rss-counter state",
        marks=("BUG: Bad rss-counter state",),
        headline=_pattern(
            rf"{_BEGIN}BUG: Bad rss-counter state"
            r"(?: mm:(?P<mm>\S{1,24}) (?:type:(?P<rss_type>\w{1,24})|idx:(?P<rss_index>[0-9])) "
            r"val:(?P<rss_value>-?[0-9]{1,20})"
            r"(?: Comm:(?P<comm>.{0,64}) Pid:(?P<pid>[0-9]{1,10}))?|(?= mm:|:))"
        ),
        task_before=False,
        follows=(),
        one_line=True,
        kernel_only=False,
        dump_before=False,
        about_pages=True,
    ),
    Kind(
        # check_mm(): nr_ptes and nr_pmds before pgtables_bytes (4.15).
        name="nonzero_page_tables",
        title="Page tables left at an mm's end",
        marks=("BUG: non-zero ",),
        headline=_pattern(
            rf"(?P<reason>{_BEGIN}BUG: non-zero (?:pgtables_bytes|nr_p[a-z0-9]{{1,4}}s)"
            r" on freeing mm: -?[0-9]{1,20})"
        ),
        task_before=False,
        follows=(),
        one_line=True,
        kernel_only=False,
        dump_before=False,
        about_pages=True,
    ),
    Kind(
        # pmd_ERROR() and the like: "%s:%d: bad pmd %p(%016lx)" (arch/x86, include/asm-generic),
        # "%s:%d: bad pmd %016lx." (arm64, s390, powerpc).
        name="bad_page_table",
        title="Bad page table",
        marks=(": bad p",),
        headline=_pattern(
            r"[\w./-]{1,200}\.[ch]:[0-9]{1,7}: (?P<reason>bad p(?:te|md|ud|4d|gd)"
            r" (?:0x)?(?:[0-9a-f]{4,16}|\(_*ptrval_*\))(?:\([0-9a-f]{1,16}\))?)"
        ),
        task_before=False,
        follows=(),
        one_line=True,
        kernel_only=False,
        dump_before=False,
        about_pages=True,
    ),
    Kind(
        # pgtable_bad() in arch/x86/mm/fault.c.
        name="bad_page_table",
        title="Bad page table",
        marks=(": Corrupted page table at address ",),
        headline=_pattern(rf"(?<=: )(?P<reason>Corrupted page table at address (?P<addr>{_HEX}))"),
        task_before=True,
        follows=("walk", "user mode", *_OOPS),
        one_line=False,
        kernel_only=False,
        dump_before=False,
        about_pages=True,
    ),
    Kind(
        # swap_info_get(), _swap_info_get(), __swap_duplicate(), get_swap_device() in
        # mm/swapfile.c.
        name="bad_swap_entry",
        title="Bad swap entry",
        marks=("Bad swap ", "Unused swap "),
        headline=_pattern(
            # swap_dup_entry_direct() names no function (6.19).
            r"(?:\w{1,64}: |(?<![\w:.,;] )(?<!\w))(?P<reason>(?:Bad|Unused) swap"
            r" (?:file|offset|entry)(?: entry)? (?:0x)?[0-9a-f]{1,16})\b"
        ),
        task_before=False,
        follows=(),
        one_line=True,
        kernel_only=False,
        dump_before=False,
        about_pages=True,
    ),
    Kind(
        name="page_table_check",
        title="Page table check",
        marks=("mm/page_table_check.c:",),
        headline=_pattern(
            r"(?P<reason>kernel BUG at \S{0,200}\bmm/page_table_check\.c:[0-9]{1,7}!?)",
            rf"(?P<reason_2>{_WARNING_AT}\S{{0,200}}\bmm/page_table_check\.c:[0-9]{{1,7}}"
            r".{0,300})",
        ),
        task_before=False,
        follows=(*_DUMP, *_OOPS),
        one_line=False,
        kernel_only=False,
        dump_before=True,
        about_pages=True,
    ),
    Kind(
        # A BUG() after the dump of VM_BUG_ON_PAGE(), _FOLIO(), _VMA() or _MM(): see the parser.
        name="vm_bug_on",
        title="VM_BUG_ON",
        marks=(),
        headline=_pattern(r"(?!)"),
        task_before=False,
        follows=(*_DUMP, *_OOPS),
        one_line=False,
        kernel_only=False,
        dump_before=True,
        about_pages=True,
    ),
    Kind(
        name="vm_warn_on",
        title="VM_WARN_ON",
        marks=("WARNING: ",),
        headline=_pattern(
            rf"(?P<reason>{_WARNING_AT}\S{{0,200}}?(?:{_VM_HEADER}|\bmm/rmap\.c):[0-9]{{1,7}}"
            r".{0,300})",
        ),
        task_before=False,
        follows=(*_DUMP, *_OOPS),
        one_line=False,
        kernel_only=False,
        dump_before=True,
        about_pages=True,
    ),
    Kind(
        # __dump_page() in mm/debug.c, of its own or before the headline that it belongs to;
        # "Eeek!" of page_remove_rmap() in mm/rmap.c before 2.6.29.
        name="page_dump",
        title="Page dump",
        marks=("page:", "flags:", "raw: ", "page dumped because: VM_", "vma ", "mm ", "Eeek! page"),
        headline=_pattern(
            r"(?<![\w.])page:(?=.{0,200}?\b(?:ref)?count: ?-?[0-9])",
            r"(?<![\w.])flags:\S{1,20} mapping:\S{1,20} mapcount:",
            # Its first lines are lost, or all but the last.
            r"(?<![\w.])raw:(?: [0-9a-f]{8}(?:[0-9a-f]{8})?){2,8}$",
            r"page dumped because: (?=VM_(?:BUG|WARN)_ON)",
            r"(?<![\w.])(?P<dumped>vma|mm) [0-9a-fx]{8,18} (?:start|mmap|task_size)(?: [0-9a-f]|$)",
            r"Eeek! page_mapcount\(page\) went negative! \((?P<mapcount>-[0-9]{1,10})\)",
        ),
        task_before=False,
        follows=("dumped", *_DUMP, *_TASK),
        one_line=False,
        kernel_only=False,
        dump_before=False,
        about_pages=True,
    ),
    Kind(
        name="other",
        title="Other reports",
        marks=(
            "BUG: ",
            "ernel BUG at ",
            "Unable to h",
            "Kernel panic - n",
            "general prot",
            ": 0",
            "WARNING: ",
        ),
        headline=_pattern(
            rf"(?P<reason>(?:(?:NMI )?watchdog: )?{_BEGIN}BUG: \S.{{0,300}}"
            r"|kernel BUG at .{0,300}|Kernel BUG at \S{1,200} \[verbose debug .{0,40}"
            r"|Kernel panic - not syncing.{0,300}|(?:Oops: )?general protection fault.{0,300}"
            r"|(?:Oops: )?(?:divide error|stack segment|bounds|alignment check): 0.{0,100}"
            r"|WARNING: CPU: (?P<cpu>[0-9]{1,5}) PID: (?P<pid>[0-9]{1,10}) at .{0,300}"
            r"|WARNING: (?:at )?\S{1,200}:[0-9]{1,6} (?:at )?.{0,300}"
            r"|WARNING: at [\w.$]{1,200}\+0x[0-9a-f]{1,16}/0x.{0,300})",
            # MIPS, LoongArch and parisc say which CPU.
            r"(?:CPU (?P<cpu_2>[0-9]{1,5}) )?(?P<reason_2>Unable to handle kernel .{0,300})",
        ),
        task_before=False,
        follows=(*_DUMP, *_OOPS),
        one_line=False,
        kernel_only=False,
        dump_before=True,
        about_pages=False,
    ),
    Kind(
        name="other",
        title="Other reports",
        marks=("WARNING: ",),
        headline=_pattern(r"(?P<reason>WARNING: \S.{0,300})"),
        task_before=False,
        follows=(*_DUMP, *_OOPS),
        one_line=False,
        kernel_only=True,
        dump_before=True,
        about_pages=False,
    ),
)

OF_NAME = {kind.name: kind for kind in KINDS}
TITLES = {kind.name: kind.title for kind in KINDS}
"""The kinds in the order of a listing."""
ABOUT_PAGES = frozenset(kind.name for kind in KINDS if kind.about_pages)
SHOW_A_PAGE = frozenset(kind.name for kind in KINDS if kind.about_pages and "page" in kind.follows)
"""Kinds of which a report has the page's own line."""


# A BUG() or WARN() of another kind that stands where pages and page tables are handled.
_OF_PAGES = re.compile(
    r"(?:kernel BUG at|WARNING: .{0,60}?) ?(?:\./)?(?:\S{0,200}/)?(?:include/linux/(?:mm|mm_inline"
    r"|highmem|rmap|page-flags|page_ref|pagemap|huge_mm|swapops|mmu_gather|pgtable)\.h"
    r"|mm/(?:\w{1,20}/)?(?:memory|rmap|swap|swap_state|swapfile|swap_cgroup|swap_table|page_io"
    r"|page_alloc|page-writeback|page_ext|mmap|mmu_gather|huge_memory|hugetlb\w{0,12}|migrate"
    r"|migrate_device|mremap|mprotect|madvise|filemap|truncate|vmscan|workingset|ksm|gup"
    r"|pgtable\w{0,12}|pgtable-generic|page_vma_mapped|shmem|khugepaged|memory-failure|memcontrol"
    r"|memcontrol-v1|memory_hotplug|memremap|compaction|folio-compat|debug_vm_pgtable"
    r"|page_isolation|readahead|mlock|vma|userfaultfd|zswap)\.c):"
)


def about_pages(splat: Splat) -> bool:
    """Return whether a report says that something is wrong with a page or its accounting.

    A report of any kind does when a page was dumped for it.
    """
    return splat.kind in ABOUT_PAGES or splat.pfn is not None or splat.mapcount is not None


def from_mm(splat: Splat) -> bool:
    """Return whether a report is about pages, or of the code that handles them: never "clean"."""
    return about_pages(splat) or _OF_PAGES.match(splat.reason or "") is not None


def any_about_pages(splats: Iterable[Splat]) -> bool:
    """Return whether a console holds a report about pages: such a console is never clean."""
    return any(about_pages(splat) for splat in splats)
