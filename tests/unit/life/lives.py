"""Lives made by hand: a page that is mapped and referenced, with names for the code at work."""

from __future__ import annotations

from tests.unit.life.builders import MAPCOUNT, PFN, REFCOUNT, Recorder, page_fields
from zaptrace.life.ledger import Ledger, ledger
from zaptrace.life.left_over import What
from zaptrace.life.mappings import Mappings, pair_mappings
from zaptrace.life.named_life import named_life
from zaptrace.model.verdict import CodeSite

NAMES = {
    1: "post_alloc_hook at mm/page_alloc.c:10",
    2: "page_add_new_anon_rmap at mm/rmap.c:20",
    3: "folio_add_lru at mm/swap.c:30",
    4: "release_pages at mm/swap.c:40",
    5: "page_remove_rmap at mm/rmap.c:50",
    6: "put_page at include/linux/mm.h:60|zap_pte_range at mm/memory.c:61",
    7: "get_page at include/linux/mm.h:70|drv_get at drivers/drv.c:71",
    8: "put_page at include/linux/mm.h:70|drv_put at drivers/drv.c:81",
    9: "bad_page at mm/page_alloc.c:90",
    10: "folio_ref_freeze at include/linux/page_ref.h:9|split at mm/huge_memory.c:11",
    11: "page_add_file_rmap at mm/rmap.c:11|do_set_pmd at mm/memory.c:12",
    12: "page_remove_rmap at mm/rmap.c:13|zap_huge_pmd at mm/huge_memory.c:14",
    13: "folio_ref_try_add_rcu at include/linux/page_ref.h:280|mapping_get_entry at mm/filemap.c:1",
    14: "shmem_add_to_page_cache at mm/shmem.c:704",
    15: "filemap_free_folio at mm/filemap.c:237",
    16: "try_get_folio at mm/gup.c:14|gup_pte_range at mm/gup.c:15",
    17: "perf_mmap_fault at kernel/events/core.c:16",
    26: "folio_ref_unfreeze at include/linux/page_ref.h:9|"
    "dequeue_hugetlb_folio_node_exact at mm/hugetlb.c:1354|memfd_alloc_folio at mm/memfd.c:88",
    27: "folio_ref_freeze at include/linux/page_ref.h:9|alloc_buddy at mm/hugetlb.c:2037",
    28: "try_grab_folio at mm/gup.c:171",
    29: "gup_put_folio at mm/gup.c:121",
    30: "filemap_get_folios_contig at mm/filemap.c:2206",
    31: "folios_put_refs at mm/swap.c:968|__folio_batch_release at mm/swap.c:1055",
    0x20: "__do_syscall at arch/s390/kernel/syscall.c:1",
    0x21: "handle_mm_fault at mm/memory.c:100",
    0x22: "zap_pte_range at mm/memory.c:105",
    0x23: "drv_ioctl at drivers/drv.c:110",
    0x24: "folio_batch_move_lru at mm/swap.c:120",
    0x25: "copy_page_range at mm/memory.c:130",
    0x26: "shmem_fault at mm/shmem.c:2157",
    0x27: "exit_mmap at mm/mmap.c:3000",
    0x28: "pgm_check_handler at arch/s390/kernel/entry.S:2",
    0x29: "iov_iter_get_pages at lib/iov_iter.c:27",
    0x2A: "iter_to_pipe at fs/splice.c:28",
    0x30: "set_pte_at at arch/s390/include/asm/pgtable.h:1|do_anonymous_page at mm/memory.c:200",
    0x31: "ptep_get_and_clear at arch/s390/include/asm/pgtable.h:2|zap_pte_range at mm/memory.c:21",
    0x32: "ptep_xchg_commit at arch/s390/mm/pgtable.c:3|ptep_xchg_lazy at arch/s390/mm/pgtable.c:4",
    0x33: "set_pte_at at arch/s390/include/asm/pgtable.h:1|copy_present_pte at mm/memory.c:220",
    0x34: "move_ptes at mm/mremap.c:230",
    0x40: "change_pte_range at mm/mprotect.c:240",
    0x41: "wp_page_copy at mm/memory.c:250",
}
OTHER = 0x8000


def know(names: dict[int, str]) -> None:
    """Name more code: each address once, for the tests of a run share the names."""
    for address, name in names.items():
        assert NAMES.setdefault(address, name) == name, f"{address:#x} is {NAMES[address]}"


def resolve(address: int, back: bool) -> CodeSite:
    chain = tuple(NAMES[address].split("|"))
    return CodeSite(chain[-1].split(" ")[0], 4, None, chain, address=address)


class Page(Recorder):
    """A page whose counters go up and down."""

    def __init__(self) -> None:
        super().__init__()
        self.mapcount, self.refcount = -1, 0
        self.store(MAPCOUNT, -1, pc=1)
        self.store(REFCOUNT, 0, pc=1)

    def refs(self, by: int, pc: int, *stack: int, root: int = 0x10000) -> None:
        self.refcount += by
        self.store(REFCOUNT, self.refcount, pc=pc, stack=self.stack(0x20, *stack, root=root))

    def maps(self, by: int, pc: int, *stack: int) -> None:
        self.mapcount += by
        self.store(MAPCOUNT, self.mapcount, pc=pc, stack=self.stack(0x20, *stack))

    def sets(self, pc: int, *stack: int, slot: int = 0x4000, at: int = PFN) -> None:
        """A PTE that maps a page; with `at` 0 it maps none any more."""
        value = at << 12 | 1 if at else 0x400
        self.entry(value, slot=slot, pc=pc, stack=self.stack(0x20, *stack))

    def clears(self, pc: int, *stack: int, slot: int = 0x4000) -> None:
        """The PTE is cleared."""
        self.sets(pc, *stack, slot=slot, at=0)

    def fault(self) -> None:
        """A page fault: allocated, mapped, put on the LRU's batch, which is moved."""
        self.refs(1, 1, 0x21)
        self.maps(1, 2, 0x21)
        self.refs(1, 3, 0x21)
        self.refs(-1, 4, 0x24)

    def unmap(self) -> None:
        """A zap of one PTE."""
        self.maps(-1, 5, 0x22)
        self.refs(-1, 6, 0x22)

    def ledger(self, ptes: int | None = None, **facts: int | None) -> Ledger:
        return ledger(named_life(self.life(**facts), PFN, resolve), page_fields(), ptes)


class Mappable(Page):
    """A page of which the PTEs are recorded, too."""

    def zap(self, slot: int = 0x4000) -> None:
        self.clears(0x31, 0x22, slot=slot)
        self.unmap()

    def mappings(self) -> Mappings:
        named = named_life(self.life(tables=1), PFN, resolve)
        return pair_mappings(named.writes)

    def odds(self) -> list[tuple[What, str | None]]:
        return [(one.what, one.write.author.source) for one in self.mappings().alone]

    def account(self, **facts: int | None) -> Ledger:
        return ledger(named_life(self.life(tables=1, **facts), PFN, resolve), page_fields())

    def left(self) -> list[What]:
        return [one.what for one in self.account().left_over]


class Mapped(Mappable):
    """One that a fault has mapped, PTE and all."""

    def __init__(self) -> None:
        super().__init__()
        self.fault()
        self.sets(0x30, 0x21)
