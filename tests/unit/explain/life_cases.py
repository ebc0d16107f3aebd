"""Lives of one page, one for each rule that asks it, and a run that keeps one."""

from __future__ import annotations

from dataclasses import dataclass

from tests.unit.life.builders import PFN, REFCOUNT, page_fields
from tests.unit.life.lives import OTHER, Mappable, Mapped, know, resolve
from tests.verdict_check import objections
from zaptrace.explain import Evidence
from zaptrace.explain.page_account import PageAccount
from zaptrace.explain.predicates import Case
from zaptrace.explain.story import Story
from zaptrace.life.changed_words import Changed
from zaptrace.life.freed_mapped import FreedMapped, freed_while_mapped
from zaptrace.life.ledger import ledger
from zaptrace.life.lost_tables import LostTable, lost_tables
from zaptrace.life.named_life import NamedLife, named_life
from zaptrace.life.planted import Planted, planted
from zaptrace.life.records import until
from zaptrace.model.findings import AuditResult
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import Verdict

know(
    {
        0x60: "atomic_set at include/linux/atomic.h:1|sys_uname at kernel/sys.c:400",
        0x35: "pmd_install at mm/memory.c:420",
        0x36: "pmd_clear at include/linux/pgtable.h:3|free_pte_range at mm/memory.c:190",
    }
)
ABOVE = 0x777
"""The page of the table above."""


def named(page: Mapped) -> NamedLife:
    return named_life(page.life(tables=1), PFN, resolve)


@dataclass(frozen=True)
class Kept:
    """The life of one page, as a run keeps it.

    Attributes:
        stop: number of the first store after the guest was stopped.
    """

    page: Mappable
    whole: bool = True
    over: bool = True
    changed: tuple[Changed, ...] = ()
    wild: tuple[int, ...] = ()
    stop: int | None = None

    def account(
        self, pfn: int, _audit: AuditResult | None, until_store: int | None = None
    ) -> PageAccount | None:
        if pfn != PFN:
            return None
        life = self.page.life(tables=1, stop=self.stop)
        life = life if until_store is None else until(life, until_store)
        named = named_life(life, PFN, resolve)
        book = ledger(named, page_fields())
        return PageAccount(named, page_fields(), book, self.whole, self.over)

    def freed_while_mapped(self) -> tuple[FreedMapped, ...]:
        return freed_while_mapped(self.page.life(tables=1), resolve)

    def changed_unseen(self) -> tuple[Changed, ...]:
        return self.changed

    def planted(self) -> tuple[Planted, ...]:
        return planted(self.page.life(tables=1), self.wild)

    def lost_tables(self) -> tuple[LostTable, ...]:
        return lost(self.page)


def lost(page: Mappable, **facts: int) -> tuple[LostTable, ...]:
    """The page tables that were never freed, a minute later."""
    known = {"tables": 1, "stop_ns": 60_000_000_000, **facts}
    return lost_tables(page.life(**known))


def torn_down(*, frees: bool = False) -> Mapped:
    """A page table that is entered in the table above it, taken out, and then that one is freed."""
    page = Mapped()
    page.unmap()
    page.refs(1, 1, 0x21)
    page.sets(0x35, 0x21, slot=ABOVE << 12)
    page.entry(0x400, slot=PFN << 12, pc=0x30)  # an entry of its own
    page.clears(0x36, 0x27, slot=ABOVE << 12)
    if frees:
        page.refs(-1, 4, 0x27)
    for count in (1, 0):
        page.store(REFCOUNT, count, pfn=ABOVE, pc=4, stack=page.stack(0x20, 0x27))
    return page


def scribbled() -> Mapped:
    page = Mapped()
    page.maps(7, 0x60, 0x23)
    page.zap()
    return page


def freed_twice() -> Mapped:
    page = Mapped()
    page.zap()
    page.refs(-1, 8, 0x23)
    return page


def forked() -> Mapped:
    page = Mapped()
    page.refs(1, 7, 0x25)
    page.sets(0x33, 0x25, slot=OTHER)
    page.zap(OTHER)
    page.zap()
    return page


def copied() -> Mapped:
    page = Mapped()
    page.clears(0x41, 0x21)
    page.refs(-1, 6, 0x21)
    return page


def stale() -> Mapped:
    page = Mapped()
    page.unmap()
    return page


def counted() -> Mapped:
    page = Mapped()
    page.refs(1, 7, 0x25)
    page.maps(1, 2, 0x25)
    page.zap()
    return page


def twice() -> Mapped:
    page = Mapped()
    page.clears(0x31, 0x22)
    page.maps(-1, 5, 0x22)
    page.unmap()
    return page


def overput() -> Mapped:
    page = Mapped()
    page.refs(1, 7, 0x23)
    page.refs(-1, 8, 0x23)
    page.refs(-1, 8, 0x23)
    return page


def batched() -> Mapped:
    page = Mapped()
    page.clears(0x31, 0x22)
    page.refs(-1, 6, 0x22)
    page.maps(-1, 5, 0x22)
    return page


def healthy() -> Mapped:
    page = Mapped()
    page.zap()
    return page


def case(kept: Kept) -> Case:
    evidence = Evidence(None, lives=kept)
    lost = next(iter(kept.lost_tables()), None)
    return Case(Story(PFN, lost_table=lost), (), evidence, kept.account(PFN, None))


STATE = Splat("bad_page_state", pfn=PFN, mapcount=1, refcount=0, reason="nonzero mapcount", line=3)


def objected(verdict: Verdict, evidence: Evidence) -> str:
    return "; ".join(objections(verdict, evidence))
