"""The life of a page of a run, named: out of life.zap and the run's vmlinux."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import drgn

from zaptrace.life.completeness import Completeness
from zaptrace.life.ledger import Ledger, ledger
from zaptrace.life.life_file import read
from zaptrace.life.named_life import NamedLife, named_life
from zaptrace.life.records import Life
from zaptrace.memory.resolve import code_site
from zaptrace.memory.vmlinux import open_vmlinux
from zaptrace.model.errors import BadInput, ZaptraceError
from zaptrace.model.verdict import CodeSite
from zaptrace.runs.folder import RunFolder


@dataclass(frozen=True, slots=True)
class RunLife:
    """The pages' lives of one run.

    Attributes:
        names: what names the code; None when the run's vmlinux is gone, and why not.
    """

    folder: RunFolder
    life: Life
    complete: Completeness | None
    names: drgn.Program | None
    unnamed: str | None = None

    @property
    def unseen(self) -> tuple[str, ...]:
        """What is not in it, a sentence each."""
        said = (f"The code has no names: {self.unnamed}.",) if self.unnamed else ()
        return (*self.life.unseen(), *said)

    def page(self, pfn: int, *, since_boot: bool = False) -> NamedLife:
        """One page's.

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
        return named_life(self.life, pfn, self._resolve, since_boot=since_boot)

    def ledger(self, named: NamedLife) -> Ledger:
        """Its ledger, by what the audit found of the page's PTEs at the stop."""
        often = dict(self.life.writers.tolist())
        return ledger(named, self.life.fields, self._ptes(named), often)

    def _ptes(self, named: NamedLife) -> int | None:
        """How many PTEs mapped the page at the stop; None when that is not known."""
        audit = self.folder.audit()
        if audit is None or audit.unseen:
            return None
        for finding in audit.findings:
            if finding.pfn == named.life.pfn:
                return finding.ptes
        # The audit has nothing to say of it: its counters are its PTEs, and a free page has none.
        counts = {"_refcount": 0, "_mapcount": -1}
        for one in named.writes:
            if not one.write.after_stop:
                counts |= {c.name: c.after for c in one.write.changes if c.name in counts}
        return max(counts["_mapcount"] + 1, 0) if counts["_refcount"] else 0

    def _resolve(self, address: int, back: bool) -> CodeSite:
        if self.names is None:
            return CodeSite(f"{address:#x}", None, None, address=address)
        return code_site(self.names, address, is_return=back)

    def suspect(self) -> int | None:
        """The page that one looks at first: the verdict's, else the first that was kept."""
        verdict = self.folder.verdict() or {}
        pfn = (verdict.get("verdict") or {}).get("pfn")
        kept = self.life.pfns
        if type(pfn) is int and (kept is None or pfn in kept):
            return pfn
        return kept[0] if kept else None


def open_life(folder: RunFolder) -> RunLife:
    """Open a run's.

    Raises:
        BadInput: the run has recorded none, and why not; or life.zap is damaged.
    """
    facts = folder.facts()
    if not folder.life.exists():
        reasons = facts.life_unrecorded
        why = reasons[0].rstrip(".") if reasons else "it was recorded without, or was cut short"
        raise BadInput(f"{folder.path} has no pages' lives: {why}")
    life, complete = read(folder.life)
    plan = folder.plan()
    try:
        wanted = plan.build_id if plan else None
        names = open_vmlinux(Path(facts.vmlinux), wanted, facts.kernel_offset or 0)
    except ZaptraceError as error:
        return RunLife(folder, life, complete, None, str(error))
    return RunLife(folder, life, complete, names)
