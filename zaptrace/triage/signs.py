"""Signs: what else a console says, asked by several rows of the decision table."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from zaptrace.model.splats import Splat
from zaptrace.triage.console import Console
from zaptrace.triage.row import Sign, Test
from zaptrace.triage.stacks import Way, base_name, deferral, read_stack

# include/linux/mm.h.
VM_PFNMAP, VM_IO, VM_HUGETLB, VM_MIXEDMAP = 0x400, 0x4000, 0x400000, 0x10000000
MANY = 3
"""Pages from which on a fault is no single event."""
FOREIGN = "POEFR"
"""Taints of modules from elsewhere: proprietary, out of tree, unsigned; forced in, forced out."""

# Page faults and mmaps of the kernel's own file systems and of anonymous memory: no driver's.
_USUAL = re.compile(
    r"(?:generic|filemap|shmem|ext[234]|xfs|btrfs|f2fs|nfs|fuse|ovl|squashfs|ramfs|v9fs|erofs"
    r"|hugetlb(?:fs)?|secretmem|zonefs|nilfs|ubifs|gfs2|ocfs2|cifs|ceph|afs|bch2?|bcachefs|ntfs3?"
    r"|jffs2|udf|isofs|reiserfs|jfs|exfat|fat|kernfs|proc|sysfs)_\w+|0x0|\(null\)|x_\w+"
    r"|special_mapping_\w+|vm_special_mapping\w*"
    r"|(?:0x)?[0-9a-f]{6,16}",  # a kernel without kallsyms names nothing
    re.ASCII,
)


_NO_REFERENCE = re.compile(
    r"VM_(?:BUG|WARN)_ON\w{0,12}\([( a-z]{0,20}\)? ?"
    r"(?:(?:page|folio)_ref_count\(\w{1,40}\)|atomic_read\(&page->_count\)) "
    r"(?:(?P<put>== 0)|<= 0|\+ 127u <= 127u)"
)


def unreferenced(splat: Splat) -> str | None:
    """Return how a reference of a page that had none was about to be used, "dropped" or "taken":
    what put_page_testzero() and folio_get() check (include/linux/mm.h); None: neither."""
    found = _NO_REFERENCE.search(splat.reason or "")
    return None if found is None else "dropped" if found["put"] else "taken"


def way_is(*ways: Way) -> Test:
    """Return a test of what the task did when the allocator looked at the page."""
    return lambda splat, _console: read_stack(splat.trace).way in ways


def has_flag(*flags: str) -> Test:
    """Return a test of whether the page has one of some flags."""
    return lambda splat, _console: any(flag in splat.flags for flag in flags)


def vma_has(bits: int) -> Test:
    """Return a test of whether the VMA has one of some bits of vm_flags."""
    return lambda splat, _console: bool((splat.vm_flags or 0) & bits)


def calls(pattern: str) -> Test:
    """Return a test of whether a function of the call trace matches."""
    wanted = re.compile(pattern)
    return lambda splat, _console: any(wanted.fullmatch(name) for name in functions(splat))


def functions(splat: Splat) -> list[str]:
    """Return the functions of a report's call trace that the kernel vouches for."""
    return [base_name(one.symbol) for one in splat.trace if one.symbol and one.reliable]


def modules(splats: Iterable[Splat]) -> tuple[str, ...]:
    """Return the modules that stand in call traces, as the kernel prints them after a symbol."""
    frames = (frame for splat in splats for frame in splat.trace if frame.reliable)
    return tuple(dict.fromkeys(frame.module for frame in frames if frame.module))


def several_pages(_splat: Splat, console: Console) -> bool:
    """Return whether the console reports on several pages."""
    return len(console.pages) >= MANY


def one_page(splat: Splat, console: Console) -> bool:
    """Return whether no other page is reported."""
    return splat.pfn is not None and set(console.pages) == {splat.pfn}


def foreign_taint(splat: Splat, _console: Console) -> bool:
    """Return whether modules from elsewhere are, or were, loaded."""
    return any(letter in FOREIGN for letter in (splat.tainted or ""))


def module_in_stack(splat: Splat, _console: Console) -> bool:
    """Return whether a module stands in the call trace."""
    return bool(modules((splat,)))


def driver(splat: Splat) -> str | None:
    """Return the function of a driver that maps the VMA, as `fault:` and `mmap:` name it."""
    for name in (splat.vm_fault, splat.file_mmap):
        if name and not _USUAL.fullmatch(base_name(name)):
            return name
    return None


def of_driver(splat: Splat, _console: Console) -> bool:
    """Return whether a driver maps the VMA."""
    return driver(splat) is not None


def special_mapping(splat: Splat, _console: Console) -> bool:
    """Return whether the VMA is one of _install_special_mapping(): vdso, vvar and the like."""
    return (splat.vm_fault or "").startswith("special_mapping")


def deferred(splat: Splat, _console: Console) -> bool:
    """Return whether an interrupt, or work that was put off, stands in the call trace."""
    return deferral(splat.trace) is not None


def reader(splat: Splat, _console: Console) -> bool:
    """Return whether the call trace is that of a reader of pages that takes no lock."""
    return any(_READERS.fullmatch(name) for name in functions(splat))


_READERS = re.compile(
    r"kpage(?:count|flags|cgroup)_read|stable_page_flags|pagemap_\w+|smaps_\w+|clear_refs_\w+"
    r"|show_smap\w*|isolate_migratepages\w*|isolate_single_pageblock|page_idle_\w+"
)

ALONE = Sign(1, "no other page is reported", one_page)
MANY_PAGES = Sign(-2, f"{MANY} pages or more are reported", several_pages)
FOREIGN_MODULES = Sign(1, "modules from elsewhere are or were loaded (taint)", foreign_taint)
IN_MODULE = Sign(2, "a module stands in the call trace", module_in_stack)


def not_(test: Test) -> Test:
    """Return the opposite of a test."""
    return lambda splat, console: not test(splat, console)


def both(*tests: Callable[[Splat, Console], bool]) -> Test:
    """Return a test that holds where all of some do."""
    return lambda splat, console: all(test(splat, console) for test in tests)


MAPCOUNT_BELOW_0 = Sign(
    1, "its mapcount is below 0", lambda splat, _: -127 < (splat.mapcount or 0) < 0
)
PFN_0 = Sign(3, "its pfn is 0", lambda splat, _: splat.pfn == 0)


def _has_another_magic(splat: Splat, _console: Console) -> bool:
    """Return whether page->pp_magic, a word of `raw:`, is not PP_SIGNATURE.

    That is 0x40, of 64 bits with the poison's upper half.  "page_pool: Fix PP_MAGIC_MASK to avoid
    crashing on some 32-bit arches" (95920c2ed02b).
    """
    magic = splat.raw[1] if len(splat.raw) > 1 else 0x40
    return magic >> 48 != 0xDEAD and magic >> 8 != 0


NO_PAGE_POOL = Sign(3, "its pp_magic word in raw: is another", _has_another_magic)
