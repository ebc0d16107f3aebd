"""Rows on oopses and BUG()s in the code that handles pages: no page is named in them."""

from __future__ import annotations

import re

from zaptrace.model.splats import Splat
from zaptrace.triage.console import Console
from zaptrace.triage.row import Candidate, Row, Sign, each
from zaptrace.triage.signs import FOREIGN_MODULES, IN_MODULE, functions
from zaptrace.triage.stacks import check_site, without_printing

_FAULTS = re.compile(
    r"(?:BUG: )?[Uu]nable to handle |BUG: kernel NULL pointer|(?:Oops: )?general protection fault"
)
_IN_LIST_CHECK = re.compile(r"(?:__)?list_(?:add|del)\w*")
_LIST_DEBUG = re.compile(r"(?:kernel BUG at |WARNING: .{0,60}?)(?:\S{0,200}/)?lib/list_debug\.c:")

# Follows the links between struct pages: free lists, LRU lists, lists of pages to be freed.
_LISTS = re.compile(
    r"(?:__)?rmqueue\w*|get_page_from_freelist|(?:__)?free_(?:one_page|pcppages_bulk|unref_\w+)"
    r"|free_hot_cold_page\w*|expand|(?:__)?del_page_from_free_list|move_(?:freepages|to_free_list)"
    r"\w*|move_(?:pages|folios|active_pages)_to_lru|steal_suitable_fallback|(?:__)?isolate_lru_\w+"
    r"|shrink_(?:active|inactive|page|folio)_list|release_pages|folios_put\w*|lru_\w+|lruvec_\w+"
    r"|(?:__)?pagevec_\w+|folio_batch_\w+"
    r"|(?:__)?split_(?:unmapped_)?folio\w*|deferred_split_\w+|putback_(?:lru_pages|movable_\w+)"
)
# Follows an mm's own objects, which are slab memory: VMAs, anon_vmas, the trees that hold them.
_OBJECTS = re.compile(
    r"(?:un)?link_(?:anon|file)_vma\w*|(?:__)?anon_vma_\w+|vma_interval_tree_\w+|vm_area_\w+"
    r"|(?:page|folio)_(?:lock_anon_vma|get_anon_vma)\w*|rmap_walk\w*|(?:__)?vma_(?:adjust|merge)"
    r"|find_vma\w*|find_extend_vma|remove_vma\w*|mas_\w+|mt_\w+|vma_(?:link|unlink|lookup)\w*"
)
# Walks page tables, or looks at the page that an entry names.
_TABLES = re.compile(
    r"unmap_(?:page_range|single_vma|vmas)|zap_\w+|copy_(?:page|pte|p[mu4g]d)_range"
    r"|copy_(?:present|nonpresent)_pte\w*|vm_normal_(?:page|folio)\w*|page_vma_mapped_walk"
    r"|(?:__)?page_check_address|(?:follow|gup)_p\w+|(?:__)?handle_(?:mm|pte)_fault"
    r"|do_(?:wp_page|swap_page|anonymous_page|numa_page|(?:read_|cow_|shared_)?fault)"
    r"|page_(?:remove|add)_\w*rmap|(?:__)?folio_(?:remove|add|try_dup|dup)_\w*rmap\w*"
    r"|try_to_unmap(?:_one)?|try_to_migrate(?:_one)?|(?:page|folio)_referenced(?:_one)?"
    r"|change_p(?:te|md|rotection)\w*|move_p(?:age_tables|tes)|free_pg(?:d_range|tables)"
    r"|(?:__)?walk_p\w+|pte_\w+|pmd_\w+|clear_page_range|mincore_\w+|smaps_\w+|remove_migration_pte"
)
# Looks at, marks or locks one page for those.
_OF_A_PAGE = re.compile(
    r"(?:__)?(?:folio|page)_\w+|set_page_dirty\w*|mark_page_accessed|(?:do|_)?_?raw_spin_\w+"
)
_ADDRESS = re.compile(r"(?:0x)?\b([0-9a-f]{8,16})\b")
_LIST_POISONS = (0xDEAD000000000100, 0xDEAD000000000122, 0xDEAD000000000200, 0x100100, 0x200200)
_NEAR = 0x1000
"""Bytes from a pointer to the member that was accessed."""


def _site(splat: Splat) -> str | None:
    """Return the function that faulted; that which called one of the list checks."""
    names = (frame.symbol or "" for frame in without_printing(splat.trace))
    site = check_site(splat) or ""
    if not _IN_LIST_CHECK.match(site):
        return site or None
    return next((name for name in names if not _IN_LIST_CHECK.match(name)), None)


def _in(splat: Splat, functions_of: re.Pattern[str]) -> str | None:
    """Return where an oops happened, as a sentence says it; None when it was elsewhere."""
    if splat.kind != "other" or not _FAULTS.match(splat.reason or ""):
        return None
    site = _site(splat)
    if site is None or functions_of.fullmatch(site):
        return site and f"{site}()"
    callers = (name for name in functions(splat) if not _OF_A_PAGE.fullmatch(name))
    caller = next(callers, None) if _OF_A_PAGE.fullmatch(site) else None
    if caller is None or not functions_of.fullmatch(caller):
        return None
    return f"{site}(), which {caller}() called"


def _list(splat: Splat, _console: Console) -> str | None:
    if splat.kind == "other" and _LIST_DEBUG.match(splat.reason or ""):
        users = [name for name in functions(splat) if _LISTS.fullmatch(name)]
        if users:
            return f"A list that leads through struct pages is corrupt, as {users[0]}() found."
        return None
    at = _in(splat, _LISTS)
    return f"The CPU faulted as it followed links between struct pages, in {at}." if at else None


def _object(splat: Splat, _console: Console) -> str | None:
    at = _in(splat, _OBJECTS)
    what = "an mm's own objects (VMAs, anon_vmas)"
    return f"The CPU faulted as it followed {what}, in {at}." if at else None


def _table(splat: Splat, _console: Console) -> str | None:
    at = _in(splat, _TABLES)
    what = "walked page tables, or looked at the page that an entry names"
    return f"The CPU faulted as it {what}, in {at}." if at else None


def is_oops_of_pages(splat: Splat, console: Console) -> bool:
    """Return whether an oops, or the check of a list, stands in code that follows struct pages, an
    mm's objects or page tables."""
    return any(says(splat, console) for says in (_list, _object, _table))


_SANITIZER = re.compile(r"BUG: K(?:ASAN|FENCE|MSAN): (?P<what>[\w-]{1,64}(?: [a-z]{1,8})?) in ")
_SLAB_CHECK = re.compile(r"kernel BUG at (?:\S{0,200}/)?mm/sl[ua]b\.c:")


def _sanitizer(splat: Splat, _console: Console) -> str | None:
    found = _SANITIZER.match(splat.reason or "")
    site = check_site(splat) if found else None
    at = f", in {site}()" if site else ""
    return f"A sanitizer stopped a use of memory ({found['what']}){at}." if found else None


def _after_free(splat: Splat, _console: Console) -> bool:
    return "use-after-free" in (splat.reason or "")


def _out_of_bounds(splat: Splat, _console: Console) -> bool:
    return "out-of-bounds" in (splat.reason or "") or "overflow" in (splat.reason or "")


def _slab(splat: Splat, _console: Console) -> str | None:
    if not _SLAB_CHECK.match(splat.reason or ""):
        return None
    return f"The slab allocator met an object or a free list that cannot be, in {_site(splat)}()."


def _address(splat: Splat) -> int | None:
    found = _ADDRESS.search(splat.reason or "")
    return int(found[1], 16) if found else None


def _in_vmemmap(splat: Splat, _console: Console) -> bool:
    """Return whether x86_64's array of struct pages begins where the address lies, without
    KASLR."""
    address = _address(splat)
    return address is not None and address >> 40 == 0xFFFFEA


def _is_null(splat: Splat, _console: Console) -> bool:
    address = _address(splat)
    return "NULL pointer" in (splat.reason or "") or (address is not None and address < _NEAR)


def _is_poison(splat: Splat, _console: Console) -> bool:
    address = _address(splat)
    return address is not None and any(abs(address - one) < 0x40 for one in _LIST_POISONS)


def _not_canonical(splat: Splat, _console: Console) -> bool:
    return "general protection fault" in (splat.reason or "")


_USED_LATE = "the object was freed while it was in use"
_POISONED = "the address is, or is next to, list poison"
_WILD = Sign(1, "the address is no address of the kernel's", _not_canonical)
_BIT = Candidate("a weak bit of memory in one of the pointers", 0)

ROWS = (
    Row(
        name="sanitizer",
        title="a sanitizer stopped a use of memory",
        sees=each(_sanitizer),
        causes=(
            Candidate(_USED_LATE, 1, (Sign(2, "it is a use after free", _after_free),)),
            Candidate(
                "a length or an index goes beyond the object",
                1,
                (Sign(2, "it is out of bounds", _out_of_bounds),),
            ),
            Candidate(
                "a pointer is wild: the object is another one",
                0,
                (
                    FOREIGN_MODULES,
                    IN_MODULE,
                ),
            ),
        ),
        measure=(
            'the stacks below "Allocated by" and "Freed by": who gave the object away',
            "scripts/decode_stacktrace.sh with this kernel's vmlinux",
        ),
        source="Documentation/dev-tools/kasan.rst, kfence.rst",
    ),
    Row(
        name="slab_check",
        title="the slab allocator's own check failed",
        sees=each(_slab),
        causes=(
            Candidate("an object was freed twice", 2),
            Candidate(
                "an object was written to after it had been freed",
                2,
                (
                    FOREIGN_MODULES,
                    IN_MODULE,
                ),
            ),
            Candidate("what was freed is no object of the slab allocator", 1),
            _BIT,
        ),
        measure=(
            "boot with slub_debug=FZPU: it names the object's last owners",
            "a kernel with KASAN",
        ),
        source="set_freepointer(), kfree(), mm/slub.c; Documentation/mm/slub.rst",
    ),
    Row(
        name="page_list",
        title="a list of pages is corrupt",
        sees=each(_list),
        causes=(
            Candidate(
                "a page was freed twice, or stands on two lists",
                2,
                (Sign(2, _POISONED, _is_poison),),
            ),
            Candidate(
                "a struct page was used, and its links written, after it was freed",
                2,
                (
                    Sign(1, _POISONED, _is_poison),
                    FOREIGN_MODULES,
                    IN_MODULE,
                ),
            ),
            Candidate("struct pages were overwritten by other code", 1, (_WILD,)),
            _BIT,
        ),
        measure=(
            "CONFIG_DEBUG_LIST, CONFIG_DEBUG_VM: they stop closer to the fault",
            "boot with page_owner=on debug_pagealloc=on",
            "a dump, and zaptrace inspect VMCORE --vmlinux VMLINUX",
        ),
        source="list_debug.c; include/linux/poison.h; struct page's lru, include/linux/mm_types.h",
    ),
    Row(
        name="mm_object",
        title="a VMA or anon_vma could not be followed",
        sees=each(_object),
        causes=(
            Candidate(
                "the object was freed while it was in use, and its memory used again",
                2,
                (Sign(1, _POISONED, _is_poison),),
            ),
            Candidate(
                "its memory was overwritten by other code",
                1,
                (
                    _WILD,
                    FOREIGN_MODULES,
                    IN_MODULE,
                ),
            ),
            _BIT,
        ),
        measure=(
            "a kernel with KASAN, or slub_debug=FZPU: who freed it, or wrote to it",
            "memtest86+, where no two of these oopses are alike",
        ),
        source="mm/rmap.c, mm/vma.c, mm/interval_tree.c: anon_vma and vm_area_struct are slab "
        "memory",
    ),
    Row(
        name="table_walk",
        title="an oops where page tables are walked",
        sees=each(_table),
        causes=(
            Candidate(
                "an entry is garbage: it names a table, or a page, that does not exist",
                2,
                (
                    Sign(
                        2,
                        "the address is one of a struct page (vmemmap without KASLR)",
                        _in_vmemmap,
                    ),
                    _WILD,
                ),
            ),
            Candidate(
                "a page table was freed while it was in use, and its page used again",
                1,
                (
                    FOREIGN_MODULES,
                    IN_MODULE,
                ),
            ),
            Candidate(
                "an object that the walk was given is missing (a VMA, a mapping)",
                0,
                (Sign(3, "the address is that of a member of a NULL pointer", _is_null),),
            ),
            _BIT,
        ),
        measure=(
            "the registers and Code: of the oops: which entry was it, by what does it differ?",
            "CONFIG_PAGE_TABLE_CHECK, page_table_check=on; a kernel with KASAN",
            "a dump, and zaptrace inspect VMCORE --vmlinux VMLINUX",
        ),
        source="mm/memory.c, mm/rmap.c, mm/page_vma_mapped.c; Documentation/arch/x86/x86_64/mm.rst",
    ),
)
