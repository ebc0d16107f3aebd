"""One thing of an audited kernel: a page, a process, or a user address with the way to its page.

What crash's `vtop`, `kmem -p` and `vm` say, in one, and beside the audit's own judgement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zaptrace.audit import findings
from zaptrace.audit.arrays import NOWHERE, Index
from zaptrace.audit.invariants import Suspect
from zaptrace.audit.mms import RSS_COUNTERS, vmas
from zaptrace.audit.optional import as_bad_input
from zaptrace.audit.page_use import PageUse, use_of
from zaptrace.audit.pagetables.nonpresent import SwapKind
from zaptrace.audit.pagetables.ram import DumpRam
from zaptrace.audit.pagetables.translate import Step, follow, mapped_pfn
from zaptrace.audit.references import Account, References
from zaptrace.audit.rmap import Owners, Place, describe_vma
from zaptrace.audit.state import KernelState
from zaptrace.model.errors import BadInput
from zaptrace.model.findings import Finding, Owner


@dataclass(frozen=True, slots=True)
class PageView:
    """One page.

    Attributes:
        page: address of its struct page.
        kind: free, anon, file, hugetlb, kernel, ...
        ptes: PTEs that map it.
        raw_mapcount, refcount, folio, references: None where its struct page, or another of its
            folio, is not in the dump, or was never initialised: `flags` are then none.
        mapcount: None when the field counts no mappings.
        folio: pfn, order, kind, free, and its `mappings` (folio_mapcount()), `mapping` and
            `index` as stored in its first page.
        mappings: where it is mapped.
        neighbours: the pages beside it.
        finding: what is wrong with it, None when nothing is.
        references: who holds the references of its folio.
        use: what it is in use for.
    """

    pfn: int
    page: int
    kind: str
    flags: tuple[str, ...]
    ptes: int
    raw_mapcount: int | None
    mapcount: int | None
    refcount: int | None
    folio: dict[str, Any] | None
    mappings: tuple[Owner, ...]
    neighbours: tuple[dict[str, Any], ...]
    finding: Finding | None
    references: Account | None
    use: PageUse

    def to_json(self) -> dict[str, Any]:
        """Return it as `inspect --pfn --json` prints it."""
        data = {name: getattr(self, name) for name in self.__slots__}
        return data | {
            "flags": list(self.flags),
            "mappings": [dataclasses.asdict(owner) for owner in self.mappings],
            "neighbours": list(self.neighbours),
            "finding": None if self.finding is None else self.finding.to_json(),
            "references": self.references and dataclasses.asdict(self.references),
            "use": dataclasses.asdict(self.use),
        }


@dataclass(frozen=True, slots=True)
class AddressView:
    """One address in one mm: the way through the tables, and the page at its end."""

    owner: Owner
    steps: tuple[Step, ...]
    pfn: int | None
    page: PageView | None

    def to_json(self) -> dict[str, Any]:
        """Return it as `inspect --address --json` prints it."""
        return {
            "owner": dataclasses.asdict(self.owner),
            "steps": [step.to_json() for step in self.steps],
            "pfn": self.pfn,
            "page": None if self.page is None else self.page.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ProcessView:
    """One process's mm.

    Attributes:
        owner: who it is.
        threads: pids that use the mm.
        rss: counter's name -> (recorded, mapped); empty where they cannot be read.
        not_present: kind -> entries that say something without being present.
        areas: VMA as in /proc/PID/maps -> pages mapped in it.
        in_flight: what a CPU is doing to it, None when nothing.
        findings: those that name this mm.
    """

    owner: Owner
    threads: tuple[int, ...]
    rss: dict[str, tuple[int, int]]
    not_present: dict[str, int]
    areas: tuple[tuple[str, int], ...]
    in_flight: str | None
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as `inspect --pid --json` prints it."""
        return {
            "owner": dataclasses.asdict(self.owner),
            "threads": list(self.threads),
            "rss": {
                name: {"recorded": was, "mapped": is_} for name, (was, is_) in self.rss.items()
            },
            "not_present": self.not_present,
            "areas": [{"vma": vma, "pages": pages} for vma, pages in self.areas],
            "in_flight": self.in_flight,
            "findings": [finding.to_json() for finding in self.findings],
        }


class Inspector:
    """Answers about one page, process or address of an audited kernel.

    Attributes:
        state: what the audit read.
    """

    def __init__(
        self,
        state: KernelState,
        owners: Owners,
        findings: Sequence[Finding],
        rest: Sequence[Suspect],
    ) -> None:
        self.state = state
        self._owners = owners
        self._findings = findings
        self._of_page = {one.pfn: one for one in findings}
        self._rest = {suspect.index: suspect for suspect in rest}
        self._ram = DumpRam(self.state.prog, self.state.pages.layout)
        self._references = References(state, owners)

    def page(self, pfn: int) -> PageView:
        """Return the page of a PFN.

        Raises:
            BadInput: it has no struct page.
        """
        index = self._index(pfn)
        if index == NOWHERE:
            raise BadInput(f"pfn {pfn:#x} has no struct page: it is not in the machine's memory")
        with as_bad_input():
            return self._page(index)

    def address(self, address: int, pid: int | None) -> list[AddressView]:
        """Return a user address in the mm of `pid`, or in every mm that maps it.

        Raises:
            BadInput: no such process, or the address is not mapped.
        """
        with as_bad_input():
            numbers = self._mapping_there(address) if pid is None else self._numbers(pid)
            if not numbers:
                raise BadInput(
                    f"no process maps {address:#x}",
                    hint="name the process with --pid to see how far its page tables go",
                )
            return [self._address(number, address) for number in numbers]

    def page_at(self, address: int) -> PageView | None:
        """Return the page whose struct page is at an address; None when it is not a struct page."""
        index = self.state.pages.index_at(address)
        with as_bad_input():
            return None if index == NOWHERE else self._page(index)

    def process(self, pid: int) -> list[ProcessView]:
        """Return the mm of a process (two while it execs).

        Raises:
            BadInput: no such process, or one without user memory.
        """
        with as_bad_input():
            return [self._process(number) for number in self._numbers(pid)]

    def _index(self, pfn: int) -> int:
        if not 0 <= pfn < 2**52:
            return NOWHERE
        return int(self.state.pages.indices(np.array([pfn], np.uint64))[0])

    def _page(self, index: int) -> PageView:
        state, owners = self.state, self._owners
        recorded = state.recorded
        where = np.array([index])
        pfn, head = int(state.pages.pfns(where)[0]), int(recorded.head[index])
        places = owners.mapped_at(index)[: findings.MAX_MAPPINGS]
        known = bool(recorded.known[index])
        references = self._references.account(head) if known else None
        return PageView(
            pfn=pfn,
            page=state.pages.layout.address(pfn),
            kind=findings.kind(state, owners, index),
            flags=findings.flag_names(state, index) if known else (),
            ptes=int(state.ptes[index]),
            raw_mapcount=int(recorded.raw_mapcount[index]) if known else None,
            mapcount=int(recorded.mapcount[index]) if recorded.mappable[index] else None,
            refcount=int(recorded.refcount[index]) if known else None,
            folio=findings.folio(state, owners, head) | self._stored(head) if known else None,
            mappings=tuple(owners.owner(place) for place in places),
            neighbours=tuple(findings.neighbours(state, owners, index)),
            finding=self._finding(index, pfn),
            references=references,
            use=use_of(state, index, swapped=references is not None and references.swapped),
        )

    def _finding(self, index: int, pfn: int) -> Finding | None:
        if index in self._rest:
            return findings.page_finding(self.state, self._owners, self._rest[index])
        return self._of_page.get(pfn)

    def _stored(self, head: int) -> dict[str, int]:
        pages, where = self.state.pages, np.array([head])
        stored = {
            name: int(pages.column(name, where)[0])
            for name in ("mapping", "index")
            if pages.has(name)
        }
        return stored | {"mappings": int(self.state.recorded.mappings[head])}

    def _address(self, number: int, address: int) -> AddressView:
        fmt = self.state.fmt
        steps = follow(fmt, self.state.mms[number].root, self._ram, address)
        pfn = mapped_pfn(fmt, steps, address)
        index = NOWHERE if pfn is None else self._index(pfn)
        page = None if index == NOWHERE else self._page(index)
        return AddressView(self._owners.owner(Place(number, address)), steps, pfn, page)

    def _numbers(self, pid: int) -> list[int]:
        found: list[int] = []
        for number, mm in enumerate(self.state.mms):
            # Besides the tasks that use it, the one inside it: exec, exit.
            tasks = (*mm.tasks, self._owners.task(number))
            if any(task and pid in (task.pid, task.tgid) for task in tasks):
                found.append(number)
        if not found:
            raise BadInput(f"no process {pid} with user memory in this dump")
        return found

    def _mapping_there(self, address: int) -> list[int]:
        walked = self.state.walked
        shift = self.state.fmt.page_shift
        page = np.uint64(address & ~((1 << shift) - 1))
        sizes = self.state.sizes.astype(np.uint64) << np.uint64(shift)
        here = (walked.address <= page) & (page - walked.address < sizes)
        return sorted(set(walked.mm[here].tolist()))

    def _process(self, number: int) -> ProcessView:
        state, mm = self.state, self.state.mms[number]
        swaps = state.absent.per_mm(SwapKind.SWAP, len(state.mms))[number]
        mapped = [*findings.mapped_rss(state)[number].tolist(), int(swaps)]
        busy = state.in_flight.get(number)
        return ProcessView(
            owner=self._owners.owner_of_mm(number),
            threads=tuple(sorted(task.pid for task in mm.tasks)),
            rss=dict(zip(RSS_COUNTERS, zip(mm.rss or (), mapped, strict=False), strict=False)),
            not_present=state.absent.of_mm(number).by_kind(),
            areas=tuple(self._areas(number)),
            in_flight=None if busy is None else str(busy),
            findings=tuple(self._about(number)),
        )

    def _areas(self, number: int) -> Iterator[tuple[str, int]]:
        walked = self.state.walked
        mine = np.flatnonzero(walked.mm == number)
        mine = mine[np.argsort(walked.address[mine])]
        starts, sizes = walked.address[mine], self.state.sizes[mine]
        before: Index = np.concatenate([[0], np.cumsum(sizes)])
        for vma in vmas(self.state.mms[number]):
            bounds = np.array([vma.vm_start.value_(), vma.vm_end.value_()], np.uint64)
            first, end = np.searchsorted(starts, bounds)
            yield describe_vma(vma), int(before[end] - before[first])

    def _about(self, number: int) -> Iterator[Finding]:
        address = self.state.mms[number].address
        for finding in self._findings:
            if any(owner.mm == address for owner in finding.mappings):
                yield finding
