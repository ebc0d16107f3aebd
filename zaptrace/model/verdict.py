"""Verdicts: the explanation of a run."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass
from typing import Any

from zaptrace.model.findings import Finding


class VerdictKind(enum.Enum):
    """What went wrong; the values are `verdict.kind` in JSON, which scripts match on."""

    FREED_BEFORE_RMAP_REMOVED = "freed_before_rmap_removed"
    MAPPING_LEAKED = "mapping_leaked"
    RMAP_UNDERFLOW = "rmap_underflow"
    PTE_LEFT_BEHIND = "pte_left_behind"
    REFCOUNT_OVERPUT = "refcount_overput"
    SCRIBBLED = "scribbled"
    FREED_TWICE = "freed_twice"
    MAPPED_WITHOUT_RMAP = "mapped_without_rmap"
    WRONG_RMAP = "wrong_rmap"
    REFCOUNT_LEAKED = "refcount_leaked"
    RSS_MISMATCH = "rss_mismatch"
    LOCKED_VM_MISMATCH = "locked_vm_mismatch"
    HUGETLB_POOL_MISMATCH = "hugetlb_pool_mismatch"
    CLEAN = "clean"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Reference:
    """A piece of the evidence that a sentence rests on; what it does not have is None.

    Attributes:
        what: `event`, `splat`, `finding` or `life`: one of them; `recording`, `console` or
            `audit`: the whole of it, for what did not happen and for counts.
        kind: an event's or a splat's kind, a finding's class, the role of a store in a page's life.
        index: an event's place in the capture, a store's in the recording of lives, from 0.
        time_ns: an event's boot clock; of a store since the recording of lives began.
        line: a splat's line on the console, from 1.
        pfn: the page that it is about.
        mm: the mm_struct that it is about, of the lifetime that it falls into.
    """

    what: str
    kind: str | None = None
    index: int | None = None
    time_ns: int | None = None
    cpu: int | None = None
    line: int | None = None
    pfn: int | None = None
    mm: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what is known of it."""
        return {key: said for key, said in dataclasses.asdict(self).items() if said is not None}


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a verdict, and what of the evidence it rests on.

    Attributes:
        reading: not a fact, but one of the causes that the evidence leaves open, with what
            speaks for it.
    """

    text: str
    rests_on: tuple[Reference, ...] = ()
    reading: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as `explain --json` prints it under `sentences`."""
        rests_on = [one.to_json() for one in self.rests_on]
        return {"text": self.text, "rests_on": rests_on, "reading": self.reading}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Sentence:
        """Return the inverse of `to_json`.

        Raises:
            KeyError, TypeError: `data` is not what `to_json` made.
        """
        rests_on = tuple(Reference(**one) for one in data["rests_on"])
        return cls(data["text"], rests_on, data.get("reading", False))


@dataclass(frozen=True, slots=True)
class OrderStep:
    """One event of the page's story.

    Attributes:
        what: a sentence a person reads.
        time_ns: boot clock, None when the order is known but not the time.
        raw_mapcount, refcount: as the kernel stored them at that moment.
        evidence: where it is known from: `event`, `splat`, `registers`,
            `stack`, `audit`.
    """

    what: str
    time_ns: int | None
    cpu: int | None = None
    pid: int | None = None
    raw_mapcount: int | None = None
    refcount: int | None = None
    evidence: str | None = None
    rests_on: tuple[Reference, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as `explain --json` prints it under `order`."""
        return {**dataclasses.asdict(self), "rests_on": [one.to_json() for one in self.rests_on]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> OrderStep:
        """Return the inverse of `to_json`.

        Raises:
            TypeError: `data` is not what `to_json` made.
        """
        rests_on = tuple(Reference(**one) for one in data.get("rests_on", ()))
        return cls(**{**data, "rests_on": rests_on})


@dataclass(frozen=True, slots=True)
class CodeSite:
    """A place in the kernel's source that played a part.

    Attributes:
        role: `freed`, `rmap_removed`, `pte_cleared`, `reported`; `culprit`: of a store in the
            page's life that has no partner; `entry_stored`, `rmap_stored`: of the last store to
            the (swap) PTE that the page's rmap does not lead to, or to where that leads;
            `flag_set`: of the store that set a flag which was left; `table_taken_out`: of the one
            that took a page table, which was never freed, out of the table above it;
            `freed_mapped`, `pte_set`: of those that freed a page while a PTE mapped it, and that
            had set the PTE.
        source: `file:line` of the innermost frame, or None.
        inline_chain: `function at file:line`, innermost first.
    """

    symbol: str | None
    offset: int | None
    source: str | None
    inline_chain: tuple[str, ...] = ()
    role: str | None = None
    address: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The explanation of a run.

    Attributes:
        sentences: what is known, for a person who works on mm: the prose of every report.
        order: what happened to the page, one step after the other.
        proof: what the audit says of the page or mm that the verdict is about.
        doubts: what the evidence cannot settle, and what would.
        evidence: the least evidence that carries it: of `capture`, `splat`, `vmcore`, `life`.
        others: what else went wrong in the run, a phrase each, the worst first.
        rule: which of `zaptrace.explain.verdict_table.RULES` applied; None when none did.
    """

    kind: VerdictKind
    sentences: tuple[Sentence, ...]
    pfn: int | None = None
    comm: str | None = None
    pid: int | None = None
    order: tuple[OrderStep, ...] = ()
    sites: tuple[CodeSite, ...] = ()
    proof: tuple[Finding, ...] = ()
    doubts: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    rule: str | None = None

    @property
    def summary(self) -> str:
        """All sentences as one paragraph."""
        return " ".join(one.text for one in self.sentences)

    @property
    def facts(self) -> str:
        """What is known, as one paragraph."""
        return " ".join(one.text for one in self.sentences if not one.reading)

    @property
    def readings(self) -> tuple[str, ...]:
        """The causes that the evidence leaves open, a sentence each."""
        return tuple(one.text for one in self.sentences if one.reading)

    def to_json(self) -> dict[str, Any]:
        """Return it as `explain --json` prints it under `verdict`."""
        data = dataclasses.asdict(self)
        data["kind"] = self.kind.value
        data["summary"] = self.summary
        for name in ("sentences", "order", "proof"):
            data[name] = [one.to_json() for one in getattr(self, name)]
        data["sites"] = [
            {**dataclasses.asdict(one), "inline_chain": list(one.inline_chain)}
            for one in self.sites
        ]
        for name in ("doubts", "evidence", "others"):
            data[name] = list(getattr(self, name))
        return data
