"""The pools of huge pages: what hstates count against their lists and what is reserved.

Counters and lists change together under hugetlb_lock (mm/hugetlb.c).  While it is not held

- free_huge_pages is what lies on the pool's free lists;
- free_huge_pages, nr_huge_pages and surplus_huge_pages are the sums of those of the nodes;
- nr_huge_pages is what lies on all its lists;
- resv_huge_pages is what is reserved and not allocated yet: of a file's reservations what is not
  in its page cache, of a private mapping's what its owner has not used, and what subpools keep.

A fault, an mmap() or a migration may be between two of these steps: a difference is stated only
in a kernel in which no task is (`zaptrace.audit.quiet`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import drgn
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.nodemask import nr_node_ids

from zaptrace.audit.functions import has_function
from zaptrace.audit.mms import printable
from zaptrace.audit.openfiles import OpenFiles
from zaptrace.audit.optional import is_broken
from zaptrace.audit.quiet import holders_at_large
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.pcp_lists import members
from zaptrace.audit.vmatable import VmaTable
from zaptrace.memory.members import first_member
from zaptrace.model.findings import Finding, FindingClass

UNREADABLE = "pools of huge pages"

_COUNTERS = ("nr_huge_pages", "free_huge_pages", "surplus_huge_pages")
_MOST_HSTATES = 16  # HUGE_MAX_HSTATE is 4 at most
_MOST_NODES = 1 << 10  # CONFIG_NODES_SHIFT is 10 at most
_MOST = 1 << 20  # superblocks, inodes, regions: more is a broken list
_VM_HUGETLB = 0x00400000  # include/linux/mm.h
_VM_MAYSHARE = 0x00000080
_OWNER = 1  # HPAGE_RESV_OWNER, mm/hugetlb.c
_RESV_MASK = 3

Counters = dict[str, tuple[int, int]]
"""What is compared -> recorded, found."""


def pool_findings(
    state: KernelState, table: VmaTable, files: Callable[[], OpenFiles], *, running: bool = False
) -> list[Finding]:
    """Return the pools whose counters are not what is there.

    Args:
        table: the VMAs, which private mappings' reservations are found by.
        files: the open files, read only where counters differ.
        running: see `zaptrace.audit.quiet.holders_at_large`.
    """
    try:
        pools = [_compared(state, table, hstate) for hstate in _hstates(state.prog)]
    except Exception as error:
        if not is_broken(error):
            raise
        state.gaps[UNREADABLE] += 1
        return []
    notes = [f"{name}: {said}" for name, counters in pools if (said := _differences(counters))]
    if not notes:
        return []
    if not state.pages.readable.all():  # nor are the VMAs whose slabs those pages are
        state.gaps[UNREADABLE] += len(notes)
        return []
    if what := holders_at_large(state, files(), running=running):
        state.gaps[f"pools of huge pages that may be in use by {what}"] += len(notes)
        return []
    return [
        Finding(FindingClass.HUGETLB_POOL_MISMATCH, None, None, None, None, note=note)
        for note in notes
    ]


def _differences(counters: Mapping[str, tuple[int, int]]) -> str:
    return "; ".join(
        f"{what}: {recorded} recorded, {found} found"
        for what, (recorded, found) in counters.items()
        if recorded != found
    )


def _hstates(prog: drgn.Program) -> Iterator[drgn.Object]:
    """Yield the pools; none without CONFIG_HUGETLB_PAGE."""
    try:
        count = prog["hugetlb_max_hstate"].value_()
    except LookupError:
        return
    yield from prog["hstates"][: min(count, _MOST_HSTATES)]


def _compared(state: KernelState, table: VmaTable, hstate: drgn.Object) -> tuple[str, Counters]:
    """Return a pool's name, and what it counts beside what is there."""
    nodes = min(nr_node_ids(state.prog), _MOST_NODES)
    free = sum(_on_list(state, hstate.hugepage_freelists[node]) for node in range(nodes))
    active = _on_list(state, hstate.hugepage_activelist)
    recorded = {name: hstate.member_(name).value_() for name in _COUNTERS}
    counters: Counters = {
        "free_huge_pages, on the free lists": (recorded["free_huge_pages"], free),
        "nr_huge_pages, on all lists": (recorded["nr_huge_pages"], free + active),
    }
    for name in _COUNTERS:
        of_nodes = hstate.member_(f"{name}_node")
        total = sum(of_nodes[node].value_() for node in range(nodes))
        counters[f"{name}, of all nodes"] = recorded[name], total
    reserved = _reserved_by_files(state.prog, hstate) + _reserved_privately(state, table, hstate)
    counters["resv_huge_pages, reserved"] = hstate.resv_huge_pages.value_(), reserved
    return printable(hstate.name.string_()), counters


def _on_list(state: KernelState, head: drgn.Object) -> int:
    """Return how many folios a list has.

    Raises:
        ValueError: it does not lead back to its head.
    """
    pages = state.pages
    member = drgn.offsetof(state.prog.type("struct page"), "lru")
    first = head.next.value_()
    found = members(
        head.address_ or 0, first, lambda entry: pages.index_at(entry - member), pages.links()
    )
    if found is None:
        raise ValueError("a broken list of huge pages")
    return len(found)


def _reserved_by_files(prog: drgn.Program, hstate: drgn.Object) -> int:
    """Huge pages that files of hugetlbfs and their mounts have reserved and not used."""
    total = 0
    for sb in _bounded(
        list_for_each_entry("struct super_block", prog["super_blocks"].address_of_(), "s_list")
    ):
        if sb.s_type.name.string_() != b"hugetlbfs" or not sb.s_fs_info:
            continue
        info = drgn.cast("struct hugetlbfs_sb_info *", sb.s_fs_info)
        if info.hstate.value_() != hstate.address_:
            continue
        if info.spool and info.spool.min_hpages.value_() != -1:
            total += info.spool.rsv_hpages.value_()
        inodes = list_for_each_entry("struct inode", sb.s_inodes.address_of_(), "i_sb_list")
        total += sum(_left_of(prog, inode, hstate) for inode in _bounded(inodes))
    return total


def _left_of(prog: drgn.Program, inode: drgn.Object, hstate: drgn.Object) -> int:
    """Huge pages that a file has reserved and that are not in its page cache."""
    resv = _resv_map_of(inode)
    if not resv:
        return 0
    cached = inode.i_data.nrpages.value_()
    # One for each folio until "mm/filemap: remove hugetlb special casing in filemap.c" (6.7),
    # which linear_hugepage_index() went with.
    if not has_function(prog, "linear_hugepage_index"):
        cached >>= hstate.order.value_()
    return sum(end - first for first, end in _regions(resv)) - int(cached)


def _resv_map_of(inode: drgn.Object) -> drgn.Object:
    """inode_resv_map() (mm/hugetlb.c)."""
    kind = inode.prog_.type("struct hugetlbfs_inode_info")
    if kind.has_member("resv_map"):  # 7.x
        return drgn.container_of(inode, kind, "vfs_inode").resv_map
    # "mm: rename address_space's private_* members" (6.8)
    found = first_member(inode.i_data, "i_private_data", "private_data")
    return drgn.cast("struct resv_map *", found)


def _reserved_privately(state: KernelState, table: VmaTable, hstate: drgn.Object) -> int:
    """Huge pages that private mappings reserve for their owner and that it has not used."""
    prog, total = state.prog, 0
    order = hstate.order.value_()
    shift = state.pages.layout.page_shift + order
    private = (table.flags & (_VM_HUGETLB | _VM_MAYSHARE)) == _VM_HUGETLB
    for address in table.address[private].tolist():
        vma = drgn.Object(prog, "struct vm_area_struct *", value=address)
        inode = vma.vm_file.f_inode
        info = drgn.cast("struct hugetlbfs_sb_info *", inode.i_sb.s_fs_info)
        kept = vma.vm_private_data.value_()
        if info.hstate.value_() != hstate.address_ or not kept & _OWNER:
            continue
        resv = drgn.Object(prog, "struct resv_map *", value=kept & ~_RESV_MASK)
        first = vma.vm_pgoff.value_() >> order
        end = first + ((vma.vm_end.value_() - vma.vm_start.value_()) >> shift)
        used = (min(end, to) - max(first, since) for since, to in _regions(resv))
        total += end - first - sum(max(pages, 0) for pages in used)
    return total


def _regions(resv: drgn.Object) -> Iterator[tuple[int, int]]:
    """Yield what a reservation map has: first huge page and the one after the last of each
    region."""
    regions = list_for_each_entry("struct file_region", resv.regions.address_of_(), "link")
    for region in _bounded(regions):
        yield region.member_("from").value_(), region.to.value_()


def _bounded(objects: Iterator[drgn.Object]) -> Iterator[drgn.Object]:
    """Yield the objects of a list.

    Raises:
        ValueError: they do not end.
    """
    for number, one in enumerate(objects):
        if number >= _MOST:
            raise ValueError("an endless list")
        yield one
