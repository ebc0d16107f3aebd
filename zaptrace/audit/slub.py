"""The allocated objects of one slab cache, found by column instead of page by page.

drgn's slab_cache_for_each_allocated_object() looks at every struct page through
an Object: 1.4 s for 131,072 of them.  Here numpy finds the cache's slabs, and drgn
is asked about those alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

import drgn
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.mm import page_to_virt
from drgn.helpers.linux.nodemask import nr_node_ids
from drgn.helpers.linux.percpu import per_cpu_ptr
from drgn.helpers.linux.slab import slab_object_info

from zaptrace.audit.arrays import Index
from zaptrace.audit.structpages.page_flags import Flags, has_bit, of_type
from zaptrace.audit.structpages.table import StructPages
from zaptrace.memory.members import first_type
from zaptrace.memory.pages import byte_order, read_array

UNREADABLE = "free lists of the slab cache of mm_structs"

_MAX_SLAB_BYTES = 1 << 20  # slabs are at most a few pages; more is a broken one
_MAX_NODES = 1 << 10  # CONFIG_NODES_SHIFT is 10 at most
_MAX_SHEAVES = 1 << 10  # of one node; MAX_FULL_SHEAVES (mm/slub.c) is 10
_MAX_IN_SHEAF = 1 << 12  # calculate_sheaf_capacity() (mm/slub.c): some ten to sixty


def allocated_objects(
    cache: drgn.Object, pages: StructPages, flags: Flags, gaps: Counter[str]
) -> list[int]:
    """Addresses of the allocated objects of a slab cache.

    Args:
        cache: `struct kmem_cache *`.
        pages: all struct pages.
        flags: this kernel's numbers.
        gaps: free lists that cannot be read are counted here; what lies on them looks allocated.

    Raises:
        LookupError, AttributeError: an allocator that is not known (SLOB).
        drgn.FaultError: the cache itself is not in the dump.
    """
    slabs = _slabs(cache, pages, flags)
    if hasattr(cache, "oo"):
        return _Slub(cache, gaps).objects(slabs)
    return [address for slab in slabs for address in _slab_objects(cache, slab)]


def allocated_in(slab: drgn.Object) -> tuple[int, int]:
    """Return how many objects of a slab are allocated, and how many it has.

    Its own count (`inuse`) is all of them while a CPU allocates from it (get_freelist() in
    mm/slub.c).

    Args:
        slab: `struct slab *`, or `struct page *` before there was one.

    Raises:
        LookupError, AttributeError: an allocator that is not known (SLOB).
        drgn.FaultError: not all that says which of them are free is in the dump.
    """
    cache = slab.slab_cache.read_()
    if not hasattr(cache, "oo"):
        return len(list(_slab_objects(cache, slab))), cache.num.value_()
    gaps: Counter[str] = Counter()
    allocated = len(_Slub(cache, gaps).objects(iter([slab])))
    if gaps:
        raise drgn.FaultError(UNREADABLE, slab.value_())
    return allocated, slab.objects.value_()


def _slabs(cache: drgn.Object, pages: StructPages, flags: Flags) -> Iterator[drgn.Object]:
    """Yield the cache's slabs: slab pages whose slab_cache is this one."""
    prog = cache.prog_
    kind = _slab_type(prog)
    owner = drgn.offsetof(kind, "slab_cache")
    marked = _slab_pages(pages, flags)
    mine = marked[pages.member(f"{byte_order(prog)}u8", owner, marked) == cache.value_()]
    for pfn in pages.pfns(mine).tolist():
        yield drgn.Object(prog, prog.pointer_type(kind), value=pages.layout.address(pfn))


def _slab_pages(pages: StructPages, flags: Flags) -> Index:
    """Return the first page of every slab of every cache."""
    if flags.slab_type is not None:
        return pages.kept[of_type(pages.column("raw_mapcount", pages.kept), flags.slab_type)]
    if flags.slab is not None:
        return pages.kept[has_bit(pages.column("flags", pages.kept), flags.slab)]
    raise LookupError("neither a flag nor a page type that says slab")


def _slab_type(prog: drgn.Program) -> drgn.Type:
    # "mm: Split slab into its own type" (5.17)
    return first_type(prog, "struct slab", "struct page")


def _slab_objects(cache: drgn.Object, slab: drgn.Object) -> Iterator[int]:
    """CONFIG_SLAB (until 6.8) has its freelists outside of the objects: drgn reads them."""
    size, count = cache.size.value_(), cache.num.value_()
    if not size or count * size > _MAX_SLAB_BYTES:
        return
    first = slab.s_mem.value_() + (cache.obj_offset.value_() if hasattr(cache, "obj_offset") else 0)
    for address in range(first, first + count * size, size):
        info = slab_object_info(cache.prog_, address)
        if info is not None and info.allocated:
            yield address


class _Slub:
    """A SLUB cache.  Its free objects lie

    - in a slab's own freelist, whether the slab is on a node's or a CPU's partial list;
    - in a CPU's freelist, for the one slab that it allocates from (until "slab: remove struct
      kmem_cache_cpu", 7.0; not with CONFIG_SLUB_TINY);
    - in sheaves, arrays of objects that CPUs and nodes keep ("slab: add opt-in caching layer of
      percpu sheaves", 6.18).
    """

    def __init__(self, cache: drgn.Object, gaps: Counter[str]) -> None:
        self._prog = cache.prog_
        self._cache = cache
        self._gaps = gaps
        self._size: int = cache.size.value_()
        self._next: int = cache.offset.value_()
        self._pad: int = cache.red_left_pad.value_() if hasattr(cache, "red_left_pad") else 0
        self._decode = self._decoder()

    def objects(self, slabs: Iterator[drgn.Object]) -> list[int]:
        """Addresses of all objects that are not free."""
        free = self._free_on_cpus() | self._free_in_sheaves()
        return [address for slab in slabs for address in self._in_slab(slab, free)]

    def _in_slab(self, slab: drgn.Object, free_elsewhere: set[int]) -> list[int]:
        count = slab.objects.value_()
        if not self._size or count * self._size > _MAX_SLAB_BYTES:
            return []
        page = drgn.cast("struct page *", slab)
        first = page_to_virt(page).value_() + self._pad
        inside = range(first, first + count * self._size, self._size)
        free = free_elsewhere | self._chain(slab.freelist.value_(), inside)
        return [address for address in inside if address not in free]

    def _free_on_cpus(self) -> set[int]:
        """Return the objects on the CPUs' own freelists: each CPU has one slab's for itself."""
        free: set[int] = set()
        if not hasattr(self._cache, "cpu_slab") or not self._size:
            return free
        for cpu in for_each_possible_cpu(self._prog):
            try:
                start = per_cpu_ptr(self._cache.cpu_slab, cpu).freelist.value_()
            except drgn.FaultError:
                self._gaps[UNREADABLE] += 1
                continue
            if start:
                anywhere = range(start % self._size, 1 << 64, self._size)
                free |= self._chain(start, anywhere)
        return free

    def _free_in_sheaves(self) -> set[int]:
        free: set[int] = set()
        try:
            for sheaf in self._sheaves():
                count = min(sheaf.size.value_(), _MAX_IN_SHEAF)
                start = sheaf.objects.address_of_().value_()
                kind = f"{byte_order(self._prog)}u8"
                free.update(read_array(self._prog, start, kind, count).tolist())
        except drgn.FaultError:
            self._gaps[UNREADABLE] += 1
        return free

    def _sheaves(self) -> Iterator[drgn.Object]:
        """Yield what CPUs and nodes have; rcu_free sheaves hold objects that readers may still
        use."""
        if not hasattr(self._cache, "cpu_sheaves"):
            return
        if self._cache.cpu_sheaves:
            for cpu in for_each_possible_cpu(self._prog):
                mine = per_cpu_ptr(self._cache.cpu_sheaves, cpu)
                yield from (sheaf for sheaf in (mine.main.read_(), mine.spare.read_()) if sheaf)
        for barn in self._barns():
            if barn:
                full = barn.sheaves_full.address_of_()
                sheaves = list_for_each_entry("struct slab_sheaf", full, "barn_list")
                yield from islice(sheaves, _MAX_SHEAVES)

    def _barns(self) -> list[drgn.Object]:
        nodes = min(nr_node_ids(self._prog), _MAX_NODES)
        # "slab: decouple pointer to barn from kmem_cache_node" (7.1)
        if hasattr(self._cache, "per_node"):
            return [one.barn.read_() for one in self._cache.per_node[:nodes]]
        return [one.barn.read_() for one in self._cache.node[:nodes] if one]

    def _chain(self, start: int, objects: range) -> set[int]:
        """Return the free objects from `start` on; a broken or circular freelist ends where it
        breaks."""
        free: set[int] = set()
        address = start
        while address in objects and address not in free:
            try:
                stored = self._prog.read_u64(address + self._next)
            except drgn.FaultError:
                break
            free.add(address)
            address = self._decode(stored, address)
        return free

    def _decoder(self) -> Callable[[int, int], int]:
        """Return what undoes CONFIG_SLAB_FREELIST_HARDENED (freelist_ptr(), mm/slub.c)."""
        if not hasattr(self._cache, "random"):
            return lambda stored, _: stored
        secret = self._cache.random.value_()
        # "slub: improve bit diffusion for freelist ptr obfuscation" (5.7)
        return lambda stored, at: stored ^ secret ^ _swab(at + self._next)


def _swab(value: int) -> int:
    return int.from_bytes(value.to_bytes(8, "little"), "big")
