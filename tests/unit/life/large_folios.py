"""A large folio that PTEs map, in lives made by hand."""

from __future__ import annotations

from tests.unit.life.builders import BASE, FLAGS, HEAD, MAPCOUNT, REFCOUNT, page_fields
from tests.unit.life.lives import Mappable, know, resolve
from zaptrace.life.ledger import Ledger, ledger
from zaptrace.life.left_over import What
from zaptrace.life.named_life import NamedLife, named_life
from zaptrace.life.records import Life

FIRST, PAGES = 0x600, 16
LINK = 8
FORK, ZAP, EXIT, DRIVER, TIMER = 0x171, 0x172, 0x27, 0x23, 0x177
know(
    {
        0x170: "folio_ref_add at include/linux/page_ref.h:7|do_anonymous_page at mm/memory.c:170",
        0x171: "folio_ref_add at include/linux/page_ref.h:7|copy_present_ptes at mm/memory.c:171",
        0x172: "zap_present_folio_ptes at mm/memory.c:172",
        0x173: "folios_put_refs at mm/swap.c:173",
        0x174: "tlb_batch_pages_flush at mm/mmu_gather.c:174",
        0x175: "put_page at include/linux/mm.h:175|zap_pte_range at mm/memory.c:175",
        0x176: "copy_present_ptes at mm/memory.c:176",
        0x177: "call_timer_fn at kernel/time/timer.c:177",
        0x178: "remove_migration_pte at mm/migrate.c:178",
        0x179: "folio_ref_add at include/linux/page_ref.h:7|remove_migration_pte at mm/migrate.c:9",
        0x17A: "migrate_pages at mm/migrate.c:17",
        0x17D: "do_anonymous_page at mm/memory.c:29",
        0x17C: "prep_compound_page at mm/page_alloc.c:28",
        0x17B: "put_page at include/linux/mm.h:175|migrate_folio_move at mm/migrate.c:18",
    }
)


class LargeFolio(Mappable):
    """Sixteen pages that a page fault has mapped by as many PTEs."""

    def __init__(self, pages: int = PAGES) -> None:
        super().__init__()
        self.pages = pages
        for pfn in range(FIRST, FIRST + pages):
            self.store(MAPCOUNT, -1, pfn=pfn, pc=1)
        self.store(REFCOUNT, 0, pfn=FIRST, pc=1)
        self.refs(1, 1, 0x21, 0x17D)
        self.store(FLAGS, 1 << HEAD, 8, pfn=FIRST, pc=0x17C)
        for pfn in range(FIRST + 1, FIRST + pages):
            self.store(LINK, BASE + FIRST * 64 + 1, 8, pfn=pfn, pc=0x17C)
        self.refs(pages - 1, 0x170, 0x21)
        self.refs(1, 3, 0x21, 0x17D)
        self.ptes(0x30, 0x21)

    def refs(self, by: int, pc: int, *stack: int, root: int = 0x10000) -> None:
        """References of the folio."""
        self.refcount += by
        at = self.stack(0x20, *stack, root=root)
        self.store(REFCOUNT, self.refcount, pfn=FIRST, pc=pc, stack=at)

    def ptes(self, pc: int, *stack: int, first: int = 0, count: int = 0, table: int = 0) -> None:
        """PTEs are set, of the folio's pages from one on."""
        for at in range(first, first + (count or self.pages)):
            self.sets(pc, *stack, slot=0x4000 + table * 0x1000 + 8 * at, at=FIRST + at)

    def unmaps(self, pc: int, *stack: int, first: int = 0, count: int = 0, table: int = 0) -> None:
        """PTEs are cleared."""
        for at in range(first, first + (count or self.pages)):
            self.clears(pc, *stack, slot=0x4000 + table * 0x1000 + 8 * at)

    def drain(self) -> None:
        """The LRU's batch is moved, by another task."""
        self.refs(-1, 4, 0x24, root=0x20000)

    def fork(self, taken: int = PAGES) -> None:
        self.refs(taken, FORK, 0x25)
        self.ptes(0x176, 0x25, table=1)

    def zaps(self, dropped: int, first: int = 0, count: int = PAGES, table: int = 0) -> None:
        """munmap() or an exit, whose gather drops the references of all pages at once."""
        by = EXIT if table else 0x22
        self.unmaps(0x31, by, 0x172, first=first, count=count, table=table)
        self.refs(-dropped, 0x173, by, 0x174)

    def large(self) -> Life:
        return self.life(tables=1)

    def folio(self) -> NamedLife:
        return named_life(self.large(), FIRST, resolve)

    def references(self) -> Ledger:
        return ledger(self.folio(), page_fields())

    def odd(self) -> list[tuple[What, str]]:
        """What is left over of its references, as a sentence; its rmaps are not made."""
        found = self.references().left_over
        return [
            (one.what, one.sentence().partition(": ")[2])
            for one in found
            if one.what not in (What.PTE_WITHOUT_RMAP, What.PTE_CLEARED)
        ]
