"""A large folio that PMDs map, in lives made by hand."""

from __future__ import annotations

import dataclasses

from tests.unit.life.builders import FLAGS, HEAD, MAPCOUNT, REFCOUNT, page_fields
from tests.unit.life.lives import Mappable, know, resolve
from zaptrace.life.ledger import Ledger, ledger
from zaptrace.life.named_life import NamedLife, named_life
from zaptrace.life.page_members import Field, PageFields
from zaptrace.life.pte_records import PteFormat
from zaptrace.life.records import Life

FIRST = 0x600
LINK, PLACE = 8, 20
HUGE = PteFormat(((0x81, 1),), (), 2**64 - 4096, huge=((0x80, 0x80),), huge_origin=2**64 - 2**21)
know(
    {
        0x150: "prep_compound_head at mm/internal.h:50|prep_compound_page at mm/page_alloc.c:51",
        0x151: "folio_add_new_anon_rmap at mm/rmap.c:52",
        0x152: "folio_remove_rmap_pmd at mm/rmap.c:53",
        0x153: "set_pmd_at at arch/x86/include/asm/pgtable.h:54|"
        "do_huge_pmd_anonymous_page at mm/huge_memory.c:55",
        0x154: "zap_huge_pmd at mm/huge_memory.c:56",
        0x155: "__split_huge_pmd_locked at mm/huge_memory.c:57",
        0x156: "copy_huge_pmd at mm/huge_memory.c:58",
        0x157: "set_huge_zero_folio at mm/huge_memory.c:59",
        0x158: "clear_compound_head at include/linux/mm.h:60|free_tail_page at mm/page_alloc.c:61",
        0x159: "stray at kernel/wild.c:62",
        0x15A: "mm_alloc_pgd at kernel/fork.c:63",
        0x15B: "page_add_file_rmap at mm/rmap.c:64|do_set_pmd at mm/memory.c:65",
        0x15C: "page_remove_file_rmap at mm/rmap.c:66|page_remove_rmap at mm/rmap.c:67",
        0x15D: "folio_add_anon_rmap_ptes at mm/rmap.c:68",
        0x160: "__handle_mm_fault at mm/memory.c:60",
        0x161: "zap_pmd_range at mm/memory.c:61",
        0x162: "split_huge_pmd_address at mm/huge_memory.c:62",
    }
)


def fields() -> PageFields:
    return dataclasses.replace(page_fields(), entire=Field("_entire_mapcount", PLACE, 4, True))


class Folio(Mappable):
    """One that has just been allocated."""

    def __init__(self) -> None:
        super().__init__()
        self.entire = -1
        self.store(FLAGS, 0, 8, pfn=FIRST, pc=0x150)
        self.store(FLAGS, 1 << HEAD, 8, pfn=FIRST, pc=0x150)
        self.store(MAPCOUNT, -1, pfn=FIRST, pc=0x150)
        self.word(1)
        self.counts(-1, 0x150, 0x160)

    def word(self, link: int) -> None:
        """The second page becomes a tail, or no longer is one."""
        self.store(LINK, link, 8, pfn=FIRST + 1, pc=0x150 if link else 0x158)

    def counts(self, value: int, pc: int, *stack: int) -> None:
        self.entire = value
        at = self.stack(0x20, *stack)
        self.store(PLACE, value, pfn=FIRST + 1, pc=pc, stack=at)

    def first(self, by: int, pc: int, *stack: int) -> None:
        """The first page's own counter."""
        self.mapcount += by
        at = self.stack(0x20, *stack)
        self.store(MAPCOUNT, self.mapcount, pfn=FIRST, pc=pc, stack=at)

    def held(self, by: int, pc: int, *stack: int) -> None:
        """The folio's references."""
        self.refcount += by
        at = self.stack(0x20, *stack)
        self.store(REFCOUNT, self.refcount, pfn=FIRST, pc=pc, stack=at)

    def pmd(self, pc: int, *stack: int, slot: int = 0x4000, pfn: int = FIRST) -> None:
        value = pfn << 12 | 0x81 if pfn else 0
        self.entry(value, slot=slot, pc=pc, stack=self.stack(0x20, *stack))

    def fault(self) -> None:
        self.counts(self.entire + 1, 0x151, 0x160)
        self.pmd(0x153, 0x160)

    def zap(self, slot: int = 0x4000) -> None:
        self.pmd(0x154, 0x161, slot=slot, pfn=0)
        self.counts(self.entire - 1, 0x152, 0x161, 0x154)

    def whole(self) -> Life:
        life = self.life(tables=1)
        return dataclasses.replace(life, fields=fields(), pte_format=HUGE)

    def named(self) -> NamedLife:
        return named_life(self.whole(), FIRST, resolve, since_boot=True)

    def account(self, **_facts: int | None) -> Ledger:
        return ledger(self.named(), fields())

    def said(self) -> list[str]:
        return [one.sentence() for one in self.account().left_over]
