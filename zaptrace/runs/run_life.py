"""The life of a page of a run, named: out of life.zap and the run's vmlinux."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import drgn

from zaptrace.explain.page_account import PageAccount
from zaptrace.life.changed_words import Changed, changed_unseen
from zaptrace.life.completeness import Completeness
from zaptrace.life.flags import is_large
from zaptrace.life.folio_pages import TailLinks
from zaptrace.life.freed_mapped import FreedMapped, freed_while_mapped
from zaptrace.life.ledger import Ledger, ledger
from zaptrace.life.left_over import What
from zaptrace.life.life_file import read
from zaptrace.life.lost_tables import LostTable, lost_tables
from zaptrace.life.named_life import Function, NamedLife, NamedWrite, named_life, named_write
from zaptrace.life.page_life import ENTIRE, Role, entry_store, last_store, page_life
from zaptrace.life.page_members import MAPCOUNT, REFCOUNT
from zaptrace.life.planted import Planted, planted
from zaptrace.life.record_layout import NOT_SEEN
from zaptrace.life.records import Life, last_of_stacks, until
from zaptrace.memory.called_functions import CalledFunctions
from zaptrace.memory.resolve import code_site
from zaptrace.memory.vmlinux import open_vmlinux
from zaptrace.model import boot_ids
from zaptrace.model.errors import BadInput, ZaptraceError
from zaptrace.model.findings import AuditResult, Finding
from zaptrace.model.verdict import CodeSite
from zaptrace.runs.consistency import HINT
from zaptrace.runs.folder import RunFacts, RunFolder
from zaptrace.runs.whole_console import whole_console
from zaptrace.splat.wild_pointers import wild_pointers


@dataclass(frozen=True, slots=True)
class RunLife:
    """The pages' lives of one run.

    Attributes:
        names: what names the code; None when the run's vmlinux is gone, and why not.
        over: the guest ran on to its end.
    """

    folder: RunFolder
    life: Life
    complete: Completeness | None
    names: drgn.Program | None
    unnamed: str | None = None
    over: bool = False
    _freed: list[tuple[FreedMapped, ...]] = field(default_factory=list)
    _often: dict[int, int] = field(default_factory=dict)
    _named: dict[tuple[int, int | None], NamedLife] = field(default_factory=dict)
    _last: dict[int, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    _sites: dict[tuple[int, bool], CodeSite] = field(default_factory=dict)
    _functions: list[CalledFunctions] = field(default_factory=list)

    @property
    def unseen(self) -> tuple[str, ...]:
        """What is not in it, a sentence each."""
        said = (f"The code has no names: {self.unnamed}.",) if self.unnamed else ()
        return (*self.life.unseen(), *said)

    def page(self, pfn: int, *, since_boot: bool = False) -> NamedLife:
        """Return one page's life.

        Raises:
            BadInput: that page's was not kept.
        """
        kept = self.life.pfns
        if kept is not None and pfn not in kept:
            facts = self.folder.facts()
            raise BadInput(
                f"{self.folder.path} has not kept the life of pfn {pfn:#x}, but of "
                f"{len(kept)} suspects",
                f"{facts.command} --keep-life",
            )
        return named_life(self.life, pfn, self._resolve, self._called, since_boot=since_boot)

    def ledger(self, named: NamedLife) -> Ledger:
        """Return the page's ledger, by the PTEs that the audit found at the stop."""
        return self._ledger(named, self.folder.audit())

    def account(
        self, pfn: int, audit: AuditResult | None, until_store: int | None = None
    ) -> PageAccount | None:
        """Return what an explanation is made from; see `zaptrace.explain.evidence.Lives`.

        Of a large folio's other page, with which itself nothing is wrong, it is the first one's,
        where something is wrong with the folio as a whole: its references, or how often it is
        mapped as a whole, whose counter bad_page() is given by the page that it lies in.

        Of a page that was freed too early, and allocated again, it is the life in which it was.
        """
        mine = self._account(pfn, audit, until_store)
        if mine is not None and until_store is None and mine.facts_follow:
            mine = self._freed_too_early(mine) or mine
        if mine is None or mine.facts or not is_large(mine.named.writes, mine.fields):
            return mine
        head = TailLinks(self.life).heads_of((pfn,)).get(pfn, pfn - 1)
        first = self._account(head, audit, until_store)
        if first is None or not (first.named.life.folio or first.named.life.pages > pfn - head):
            return mine
        return first if any(one.is_of_folio for one in first.facts) else mine

    def _account(
        self, pfn: int, audit: AuditResult | None, until_store: int | None
    ) -> PageAccount | None:
        if self.names is None or (self.life.pfns is not None and pfn not in self.life.pfns):
            return None
        if (pfn, until_store) not in self._named:
            life = self.life if until_store is None else until(self.life, until_store)
            self._named[pfn, until_store] = named_life(life, pfn, self._resolve, self._called)
        named = self._named[pfn, until_store]
        # The audit is of the stop.
        account = self._ledger(named, audit if until_store is None else None)
        whole, last = self._whole(pfn), self._last_calls()
        entry = self._entry(pfn, audit) if until_store is None else self._stale(pfn, until_store)
        return PageAccount(named, self.life.fields, account, whole, self.over, last, entry)

    def _freed_too_early(self, now: PageAccount) -> PageAccount | None:
        """Return the life before a page's last allocation, where it ended by a reference that was
        not the dropper's: who held that one took it into this life."""
        if not now.named.life.since_allocation or not now.named.writes:
            return None
        pfn, allocated = now.named.life.pfn, now.named.writes[0].write.number
        whole = page_life(self.life, pfn, since_boot=True).writes
        freed = [one for one in whole if one.role is Role.FREED and one.number < allocated]
        before = self._account(pfn, None, freed[-1].number) if freed else None
        if before is None or before.first(What.PUT_WITHOUT_GET) is None:
            return None
        return dataclasses.replace(before, earlier=True)

    def freed_while_mapped(self) -> tuple[FreedMapped, ...]:
        """Return the pages that were freed while a PTE mapped them, the first one first."""
        if not self._freed and self.names is not None:
            self._freed.append(freed_while_mapped(self.life, self._resolve))
        return self._freed[0] if self._freed else ()

    def changed_unseen(self) -> tuple[Changed, ...]:
        """Return the members of struct pages that no recorded store had changed, at the stop."""
        return changed_unseen(self.life, self.complete)

    def planted(self) -> tuple[Planted, ...]:
        """Return the members of struct pages that held what the kernel died of."""
        if self.names is None:
            return ()
        return planted(self.life, wild_pointers(whole_console(self.folder)))

    def lost_tables(self) -> tuple[LostTable, ...]:
        """Return the page tables that were never freed, the first one first."""
        return lost_tables(self.life) if self.names is not None else ()

    def _stale(self, pfn: int, freed: int) -> NamedWrite | None:
        """Return the store of the PTE that mapped a page when it was freed."""
        for one in self.freed_while_mapped():
            if (one.pfn, one.freed) == (pfn, freed):
                write = entry_store(self.life, pfn, one.entry)
                return None if write is None else named_write(write, self._resolve, self._called)
        return None

    def _entry(self, pfn: int, audit: AuditResult | None) -> NamedWrite | None:
        """Return the last store to a (swap) PTE that is wrong about a page."""
        for finding in audit.findings if audit is not None else ():
            if finding.pfn == pfn:
                stores = (last_store(self.life, slot) for slot in wrong_entries(finding))
                known = [one for one in stores if one is not None]
                last = max(known, key=lambda one: one.number, default=None)
                return named_write(last, self._resolve, self._called) if last else None
        return None

    def _ledger(self, named: NamedLife, audit: AuditResult | None) -> Ledger:
        if not self._often:
            self._often.update(self.life.writers.tolist())
        return ledger(named, self.life.fields, _ptes(named, audit), self._often)

    def _last_calls(self) -> dict[int, tuple[int, tuple[int, ...]]]:
        """Return kernel stack -> the number and the call stack of the last store on it."""
        if not self._last:
            for root, at in last_of_stacks(self.life).items():
                stack = self.life.stack(int(self.life.records["stack"][at]))
                self._last[root] = (int(self.life.numbers[at]), stack[::-1])
        return self._last

    def _whole(self, pfn: int) -> bool:
        """Return whether no store to a page's struct page is missing, as measured at the stop."""
        found, facts = self.complete, self.life.facts
        if found is None or facts.missed or facts.values or facts.storage == NOT_SEEN:
            return False
        return found.differ == len(found.named) and not found.of_page(pfn)

    def _resolve(self, address: int, back: bool) -> CodeSite:
        if self.names is None:
            return CodeSite(f"{address:#x}", None, None, address=address)
        if (address, back) not in self._sites:
            self._sites[address, back] = code_site(self.names, address, is_return=back)
        return self._sites[address, back]

    def _called(self, returns_to: int) -> Function | None:
        if self.names is None:
            return None
        if not self._functions:
            facts = self.folder.facts()
            vmlinux, offset = Path(facts.vmlinux), facts.kernel_offset or 0
            self._functions.append(CalledFunctions(self.names, vmlinux, offset))
        return self._functions[0](returns_to)

    def suspect(self) -> int | None:
        """Return the page that one looks at first: the verdict's, or the one whose life that is
        explained by; else the first that was kept."""
        verdict = self.folder.verdict() or {}
        pfn = (verdict.get("verdict") or {}).get("pfn")
        kept = self.life.pfns
        if type(pfn) is int and (kept is None or pfn in kept):
            account = self.account(pfn, self.folder.audit())
            return pfn if account is None else account.named.life.pfn
        return kept[0] if kept else None


def wrong_entries(finding: Finding) -> list[int]:
    """Return where the (swap) PTEs lie that are wrong about a page: its rmap does not lead to them,
    or no kernel makes such."""
    return [owner.entry_at for owner in finding.mappings if owner.entry_at is not None]


def _ptes(named: NamedLife, audit: AuditResult | None) -> int | None:
    """Return how many PTEs mapped the page at the stop, by an audit; None when that is not
    known."""
    if audit is None or audit.unseen:
        return None
    for finding in audit.findings:
        if finding.pfn == named.life.pfn:
            return finding.ptes
    # The audit has nothing to say of it: its counters are its PTEs, and a free page has none.
    counts = {REFCOUNT: 0, MAPCOUNT: -1, ENTIRE: -1}
    for one in named.writes:
        if not one.write.after_stop:
            counts |= {c.name: c.after for c in one.write.changes if c.name in counts}
    mapped = sum(max(counts[name] + 1, 0) for name in (MAPCOUNT, ENTIRE))
    return mapped if counts[REFCOUNT] else 0


def kept_lives(folder: RunFolder, names: drgn.Program | None) -> RunLife | None:
    """Return a run's lives, named by a program that is open already; None when it kept none.

    Raises:
        BadInput: life.zap is damaged.
    """
    if not folder.life.exists():
        return None
    life, complete = read(folder.life)
    return RunLife(folder, life, complete, names, over=_ran_on(folder.facts()))


def _ran_on(facts: RunFacts) -> bool:
    return "exit" in (facts.ended, facts.after)


def open_life(folder: RunFolder) -> RunLife:
    """Open a run's.

    Raises:
        BadInput: the run has recorded none, and why not; or life.zap is damaged, or another
            boot's.
    """
    facts = folder.facts()
    if not folder.life.exists():
        reasons = facts.life_unrecorded
        why = reasons[0].rstrip(".") if reasons else "it was recorded without, or was cut short"
        raise BadInput(f"{folder.path} has no pages' lives: {why}")
    life, complete = read(folder.life)
    if life.boot and facts.boot_id and not boot_ids.same(life.boot, facts.boot_id):
        raise BadInput(
            f"{folder.life} is another boot's than {folder.path}/run.json: {life.boot} and "
            f"{facts.boot_id}",
            HINT,
        )
    plan = folder.plan()
    try:
        wanted = plan.build_id if plan else None
        names = open_vmlinux(Path(facts.vmlinux), wanted, facts.kernel_offset or 0)
    except ZaptraceError as error:
        return RunLife(folder, life, complete, None, str(error))
    return RunLife(folder, life, complete, names, over=_ran_on(facts))
