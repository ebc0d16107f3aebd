"""What a page is in use for: free list, slab, file, swap entry, cgroup, and who allocated it.

Each answer is read on its own: a dump that was filtered (`makedumpfile -d`) or cut, or a kernel
without the feature, costs that answer alone, which is then named as lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import drgn
import numpy as np
from drgn.helpers.linux.cgroup import cgroup_path
from drgn.helpers.linux.fs import d_path, inode_path
from drgn.helpers.linux.mm import PageSlab
from drgn.helpers.linux.slab import slab_object_info

from zaptrace.audit.mms import printable
from zaptrace.audit.optional import is_broken
from zaptrace.audit.page_owner import page_owner
from zaptrace.audit.slub import allocated_in
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.mapcount import uninitialised
from zaptrace.audit.structpages.pcp_lists import listed_at
from zaptrace.audit.structpages.table import MAPPING_FLAGS
from zaptrace.memory.left_out import is_left_out

Asked = Callable[[str, Callable[[], Any]], Any]
"""Takes the name of an answer and what gives it; returns None where it is lost."""

_MOST_ORDER = 20
_SWAP_TYPE_SHIFT = 58  # SWP_TYPE_SHIFT, include/linux/swapops.h
_MEMCG_FLAGS = 7  # MEMCG_DATA_OBJEXTS, MEMCG_DATA_KMEM and above, include/linux/memcontrol.h


@dataclass(frozen=True, slots=True)
class PageUse:
    """What a page is in use for; None where it is not, or not known.

    Attributes:
        free_list: "the buddy allocator: order 3", "CPU 1's free list of zone Normal".
        slab: cache, objects in use and in all.
        file: path as far as its dentries give it, file system, page's index in it.
        swap: swap file, type and offset of the folio's swap entry.
        cgroup: path of the memory cgroup that is charged.
        owner: page_owner's: who allocated and who freed it last, with their stacks.
        content: the page's own bytes are in the dump.
        lost: answers that could not be read.
    """

    free_list: str | None
    slab: dict[str, Any] | None
    file: dict[str, Any] | None
    swap: dict[str, Any] | None
    cgroup: str | None
    owner: dict[str, Any] | None
    content: bool
    lost: tuple[str, ...]


def use_of(state: KernelState, index: int, *, swapped: bool) -> PageUse:
    """Return what a page is in use for.

    Args:
        index: of its struct page.
        swapped: its folio is in the swap cache.
    """
    lost: list[str] = []

    def asked(what: str, answer: Callable[[], Any]) -> Any:
        try:
            return answer()
        except Exception as error:
            if not is_broken(error):
                raise
            lost.append(what)
            return None

    def of_struct_page(what: str, answer: Callable[[], Any]) -> Any:
        if state.recorded.known[index]:
            return asked(what, answer)
        if not uninitialised(state.pages, np.array([index]))[0]:
            lost.append(what)
        return None

    head = int(state.recorded.head[index])
    return PageUse(
        free_list=of_struct_page("free list", lambda: _free_list(state, index)),
        slab=of_struct_page("slab", lambda: _slab(state, head, asked)),
        file=of_struct_page("file", lambda: _file(state, index, head)),
        swap=asked("swap entry", lambda: _swap(state, index, head)) if swapped else None,
        cgroup=of_struct_page("cgroup", lambda: _cgroup(state, head)),
        owner=asked("page_owner", lambda: page_owner(state.prog, _pfn(state, index))),
        content=_has_content(state, index),
        lost=tuple(lost),
    )


def _pfn(state: KernelState, index: int) -> int:
    return int(state.pages.pfns(np.array([index]))[0])


def _page(state: KernelState, index: int) -> drgn.Object:
    address = int(state.pages.addresses(np.array([index]))[0])
    return drgn.Object(state.prog, "struct page *", value=address)


def _has_content(state: KernelState, index: int) -> bool:
    address = _pfn(state, index) << state.pages.layout.page_shift
    if is_left_out(state.prog, address):
        return False
    try:
        state.prog.read(address, 1, True)
    except drgn.FaultError:
        return False
    return True


def _free_list(state: KernelState, index: int) -> str | None:
    if state.recorded.hugetlb[index] and not state.recorded.refcount[index]:
        return "its pool of huge pages"
    if not state.recorded.free[index]:
        return None
    pfn = _pfn(state, index)
    for order in range(_MOST_ORDER):
        first = pfn & -(1 << order)
        at = int(state.pages.indices(np.array([first], np.uint64))[0])
        if at < 0 or int(state.recorded.raw_mapcount[at]) != state.flags.buddy:
            continue
        size = int(state.pages.column("private", np.array([at]))[0])
        if order <= size < _MOST_ORDER:
            return f"the buddy allocator, in a block of order {size} at pfn {first:#x}"
    return listed_at(state.prog, state.pages, index)


def _slab(state: KernelState, head: int, asked: Asked) -> dict[str, Any] | None:
    page = _page(state, head)
    if state.recorded.mappable[head] or not PageSlab(page):
        return None
    try:  # "mm: Split slab into its own type" (5.17)
        slab = drgn.cast("struct slab *", page)
    except LookupError:
        slab = page
    found: dict[str, Any] = {"cache": printable(slab.slab_cache.name.string_())}
    in_use = asked("objects in use", lambda: allocated_in(slab))
    if in_use is not None:
        found |= {"in_use": in_use[0], "objects": in_use[1]}
    return found


def _file(state: KernelState, index: int, head: int) -> dict[str, Any] | None:
    where = np.array([head])
    mapping = int(state.pages.column("mapping", where)[0])
    if not state.recorded.mappable[head] or mapping <= MAPPING_FLAGS or mapping & MAPPING_FLAGS:
        return None
    space = drgn.Object(state.prog, "struct address_space *", value=mapping)
    inode = space.host.read_()
    if not inode:
        return None
    path = inode_path(inode)
    return {
        "path": None if path is None else printable(path),
        "filesystem": printable(inode.i_sb.s_type.name.string_()),
        "inode": inode.i_ino.value_(),
        "index": int(state.pages.column("index", where)[0]) + index - head,
    }


def _swap(state: KernelState, index: int, head: int) -> dict[str, Any]:
    """Return a page's swap entry: ->private of the folio's first page; before 6.7, of each page."""
    entry = int(state.pages.column("private", np.array([head]))[0]) + index - head
    number, offset = entry >> _SWAP_TYPE_SHIFT, entry & (1 << _SWAP_TYPE_SHIFT) - 1
    found: dict[str, Any] = {"type": number, "offset": offset, "file": None}
    infos = state.prog["swap_info"]
    if number < infos.type_.length and infos[number]:
        file = infos[number].swap_file
        if file:
            found["file"] = printable(d_path(file.f_path))
    return found


def _cgroup(state: KernelState, head: int) -> str | None:
    """folio_memcg() (include/linux/memcontrol.h); None without CONFIG_MEMCG, or not charged."""
    page = _page(state, head)
    prog = state.prog
    kind = prog.type("struct page")
    folio = None if kind.has_member("memcg_data") else drgn.cast("struct folio *", page)
    if folio is not None and not folio.type_.type.has_member("memcg_data"):
        return None
    charged = (page if folio is None else folio).memcg_data.value_()
    address = charged & ~_MEMCG_FLAGS
    if not address or charged & 1 or not state.recorded.mappable[head]:
        return None
    # A folio of the LRU lists names its mem_cgroup, one of the kernel's (MEMCG_DATA_KMEM) and in
    # 7.x every one an obj_cgroup, which is the smaller object.
    object_ = slab_object_info(prog, address)
    group = drgn.Object(prog, "struct mem_cgroup *", value=address)
    if object_ and object_.slab_cache.object_size.value_() < drgn.sizeof(group.type_.type):
        group = drgn.Object(prog, "struct obj_cgroup *", value=address).memcg
    return printable(cgroup_path(group.css.cgroup))
