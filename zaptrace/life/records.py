"""A recording: checked once, then believed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from zaptrace.life.byte_runs import merge_bytes
from zaptrace.life.expand import expand, numbers_of, times, writers_of
from zaptrace.life.folio_pages import LINK, TailLinks, field_of, mapped_folios, stores_to
from zaptrace.life.page_members import MAPCOUNT, PageFields
from zaptrace.life.pte_records import PteFormat, no_ptes, of_struct_pages, pte_stores
from zaptrace.life.record_layout import (
    NODE,
    NOT_SEEN,
    U64,
    VALID,
    VALUE,
    WRITER,
    Array,
)

DEEPEST = 512
"""Frames of a stack that are followed."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a recording besides its records.

    Attributes:
        base: the address of PFN 0's struct page.
        api: version of QEMU's plugin API.
        storage: see `layout.NOT_SEEN`.
        wanted: stores that were to be recorded.
        missed: of them, how many were not: the recording was full, or they are torn.
        values: how many have no value.
        lost_stacks: stacks that were cut, for there was no room.
        stop: number of the first record after the guest was stopped and dumped; None when it
            was not.
        start_ns: the first record's time.
        tables: how often a page became a page table whose stores are recorded; 0: none are.
        torn: of those missed, how many have a record that is not whole: the guest was killed
            while it was written, or it is damaged.
        stop_ns: the time of the last record before the stop, or of all; 0: not known.
    """

    base: int
    api: int
    storage: int
    wanted: int
    missed: int
    values: int
    lost_stacks: int
    stop: int | None
    start_ns: int
    tables: int = 0
    torn: int = 0
    stop_ns: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as life.zap has it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Facts:
        """Read what `to_json` wrote.

        Raises:
            ValueError, TypeError, LookupError: it is not such a thing.
        """
        facts = cls(**data)
        numbers = dataclasses.asdict(facts)
        stop = numbers.pop("stop")
        for value in (*numbers.values(), *([] if stop is None else [stop])):
            if type(value) is not int or not 0 <= value < 2**64:
                raise ValueError("not an unsigned 64-bit number")
        return facts


@dataclass(frozen=True, slots=True)
class Life:
    """Stores to struct pages, in their order.

    Attributes:
        records: RECORD; every `va` is inside the range, of aliases as well.
        numbers: each record's place in the whole recording, ascending.
        nodes: NODE; a parent stands before its children.
        pfns: the pages whose every record is here; None: all of them.  Others' are here only where
            they are the last on a kernel stack.
        writers: WRITER, of the whole recording: instructions and how often each stored.
        ptes: PTE, stores to page tables; of some pages alone those that map or mapped them.
        pte_format: what a PTE maps; None: stores to page tables were not recorded.
        boot: the id of the boot (`zaptrace.model.boot_ids`); None when it is not known.
    """

    facts: Facts
    fields: PageFields
    records: Array
    numbers: Array
    nodes: Array
    pfns: tuple[int, ...] | None = None
    writers: Array = field(default_factory=lambda: np.zeros(0, WRITER))
    ptes: Array = field(default_factory=no_ptes)
    pte_format: PteFormat | None = None
    boot: str | None = None

    def pages(self) -> U64:
        """Return each record's PFN."""
        inside = self.records["va"].astype(np.uint64) - np.uint64(self.facts.base)
        found: U64 = inside // np.uint64(self.fields.size)
        return found

    def stack(self, node: int) -> tuple[int, ...]:
        """Return addresses, innermost first; last the start of the kernel stack they are on."""
        found: list[int] = []
        while node and len(found) < DEEPEST:
            found.append(int(self.nodes["address"][node]))
            node = int(self.nodes["parent"][node])
        return tuple(found)

    def unseen(self) -> tuple[str, ...]:
        """Return what this recording lacks, a sentence each."""
        facts, said = self.facts, []
        if facts.missed > facts.torn:
            said.append(
                f"The recording of pages' lives was full: {facts.missed - facts.torn:,} of "
                f"{facts.wanted:,} stores are missing."
            )
        if facts.torn:
            said.append(
                f"{facts.torn:,} of {facts.wanted:,} stores are missing from pages' lives: their "
                "records are not whole."
            )
        if facts.values:
            said.append(f"Of {facts.values:,} stores to struct pages the value is not known.")
        if facts.storage == NOT_SEEN:
            said.append(
                "Pages' lives lack what MVC, NC, OC and XC stored: this QEMU does not report it."
            )
        if facts.lost_stacks:
            said.append(f"{facts.lost_stacks:,} call stacks of pages' lives were cut.")
        return tuple(said)


def recorded(
    stored: Array,
    nodes: Array,
    fields: PageFields,
    facts: Facts,
    direct: int,
    pte_format: PteFormat | None = None,
) -> Life:
    """Return a recording as a plugin has it, without what cannot be.

    Args:
        stored: STORED.
        facts: those that the records do not say; `start_ns` is what their times count from.
        direct: virtual address of physical 0 in the kernel's direct map.
        pte_format: how the guest's page tables are read, where they were recorded.
    """
    nodes = _believable(nodes)
    ns = times(stored, facts.start_ns)
    before = ns[: facts.stop]
    start, stop = (int(one[at]) if len(one) else 0 for one, at in ((ns, 0), (before, -1)))
    own, tables = numbers_of(stored)
    torn = len(stored) - len(own) - len(tables)
    facts = dataclasses.replace(facts, start_ns=start, stop_ns=stop)
    place = (nodes, facts.base, direct)
    records, own = merge_bytes(expand(stored, ns, own, *place), own)
    entries = merge_bytes(expand(stored, ns, tables, *place), tables)
    life = _life(records, own, nodes, fields, facts, torn, pte_format)
    ptes = pte_stores(*entries, fields.order)
    return dataclasses.replace(life, ptes=ptes, writers=writers_of(stored, nodes))


def checked(
    records: Array,
    nodes: Array,
    fields: PageFields,
    facts: Facts,
    numbers: Array | None = None,
    pte_format: PteFormat | None = None,
) -> Life:
    """Take records as a file has them, without what cannot be.

    Args:
        records: RECORD.
        facts: `wanted` and `missed` of what came before; what is dropped here is added.
        pte_format: how the guest's page tables are read, where they were recorded.
    """
    nodes = _believable(nodes)
    numbers = np.arange(len(records), dtype=np.uint64) if numbers is None else numbers
    good = (records["flags"] & VALID) != 0
    good &= (records["bytes"] >= 1) & (records["bytes"] <= 8)
    good &= (records["va"] & np.uint64(7)) + records["bytes"] <= 8
    torn = int(np.count_nonzero(~good))
    if torn:
        records, numbers = records[good], numbers[good]
    if (records["stack"] >= len(nodes)).any():
        records = records.copy()
        records["stack"][records["stack"] >= len(nodes)] = 0
    records, numbers = merge_bytes(records, numbers)
    own = of_struct_pages(records)
    ptes = no_ptes()
    if not own.all():
        ptes = pte_stores(records[~own], numbers[~own], fields.order)
        records, numbers = records[own], numbers[own]
    life = _life(records, numbers, nodes, fields, facts, torn, pte_format)
    return dataclasses.replace(life, ptes=ptes)


def _life(
    records: Array,
    numbers: Array,
    nodes: Array,
    fields: PageFields,
    facts: Facts,
    torn: int,
    pte_format: PteFormat | None,
) -> Life:
    """Return records of struct pages that may be believed.

    Args:
        torn: how many records may not.
    """
    values = int(np.count_nonzero((records["flags"] & VALUE) == 0))
    missed = facts.missed + torn
    facts = dataclasses.replace(facts, missed=missed, values=values, torn=facts.torn + torn)
    return Life(
        facts, fields, records, numbers, nodes, pte_format=pte_format if facts.tables else None
    )


def _believable(nodes: Array) -> Array:
    """Return the call tree, with nodes that do not follow their parent made roots: no stack is a
    cycle."""
    if not len(nodes):
        return np.zeros(1, NODE)
    wrong = nodes["parent"] >= np.arange(len(nodes), dtype=np.uint32)
    wrong[0] = nodes["parent"][0] != 0
    if wrong.any():
        nodes = nodes.copy()
        nodes["parent"][wrong] = 0
    return nodes


def until(life: Life, number: int) -> Life:
    """Return what was recorded up to a store, that one included."""
    last = np.uint64(number)
    return dataclasses.replace(
        life,
        records=life.records[life.numbers <= last],
        numbers=life.numbers[life.numbers <= last],
        ptes=life.ptes[life.ptes["number"] <= last],
    )


def of_pages(life: Life, pfns: tuple[int, ...] | None, entries: Sequence[int] = ()) -> Life:
    """Return the records of these pages alone, with the stacks that they need, and all writers.

    Args:
        entries: physical addresses of page-table entries, whose stores are kept as well.
    """
    writers = life.writers if len(life.writers) else _writers(life)
    if pfns is None:
        return dataclasses.replace(life, writers=writers)
    pages = np.unique(np.array(pfns, np.uint64))
    kept = np.isin(life.pages(), np.union1d(pages, _second_pages(life, pages)))
    tails = TailLinks(life).all_tails(pages)
    if len(tails):
        kept |= np.isin(life.pages(), tails) & _of_folios(life)
    kept |= _last_of_the_same(life, life.records["stack"][kept])
    records = life.records[kept].copy()
    at = np.isin(life.ptes["slot"], np.array(entries, np.uint64))
    ptes = life.ptes[_maps(life, np.union1d(pages, tails)) | at].copy()
    used = np.concatenate((records["stack"], ptes["stack"]))
    nodes, renumbered = _needed(life.nodes, used)
    records["stack"] = renumbered[records["stack"]]
    ptes["stack"] = renumbered[ptes["stack"]]
    return Life(
        life.facts,
        life.fields,
        records,
        life.numbers[kept],
        nodes,
        tuple(int(pfn) for pfn in pages),
        writers,
        ptes,
        life.pte_format,
    )


def _of_folios(life: Life) -> npt.NDArray[np.bool_]:
    """Return which records say of a tail whose it is, and how often it is mapped."""
    found = np.zeros(len(life.records), bool)
    for name in (LINK, MAPCOUNT):
        if (field := field_of(life, name)) is not None:
            found |= stores_to(life, field)
    return found


def _writers(life: Life) -> Array:
    pcs, counts = np.unique(
        np.concatenate((life.records["pc"], life.ptes["pc"])), return_counts=True
    )
    writers = np.zeros(len(pcs), WRITER)
    writers["pc"], writers["count"] = pcs, counts
    return writers


def last_of_stacks(life: Life) -> dict[int, int]:
    """Return kernel stack -> the index of the last record on it."""
    roots = life.nodes["address"][_roots(life.nodes)][life.records["stack"]]
    found, backwards = np.unique(roots[::-1], return_index=True)
    last = len(roots) - 1 - backwards
    return {root: at for root, at in zip(found.tolist(), last.tolist(), strict=True) if root}


def _last_of_the_same(life: Life, used: Array) -> npt.NDArray[np.bool_]:
    """Return the last record of each kernel stack that some nodes are on: whether a call is over
    is seen by what its task did later, to whatever page."""
    mine = set(life.nodes["address"][_roots(life.nodes)][np.unique(used)].tolist())
    found = np.zeros(len(life.records), bool)
    found[[at for root, at in last_of_stacks(life).items() if root in mine]] = True
    return found


def _roots(nodes: Array) -> Array:
    """Return each node's root: a parent stands before its children."""
    found = np.arange(len(nodes), dtype=np.uint32)
    for _ in range(DEEPEST):
        above = nodes["parent"][found]
        if not above.any():
            break
        found = np.where(above != 0, above, found)
    return found


def _maps(life: Life, pages: U64) -> npt.NDArray[np.bool_]:
    """Return which stores to page tables hit entries that map, or mapped, some pages."""
    if life.pte_format is None:
        return np.zeros(len(life.ptes), bool)
    found = np.zeros(len(life.ptes), bool)
    for name in ("before", "after"):
        found |= np.isin(life.pte_format.pfns(life.ptes[name]), pages)
        if life.pte_format.huge:
            found |= np.isin(life.pte_format.heads(life.ptes[name]), pages)
    return found


def _second_pages(life: Life, pages: U64) -> U64:
    """Return the second pages of those large folios whose first pages are among some."""
    found: U64 = np.intersect1d(pages, mapped_folios(life)) + np.uint64(1)
    return found


def _needed(nodes: Array, used: Array) -> tuple[Array, Array]:
    """Return the tree of the used nodes, and old number -> new number."""
    wanted = np.zeros(len(nodes), bool)
    wanted[0] = True
    now = np.unique(used)
    while len(now := now[~wanted[now]]):
        wanted[now] = True
        now = np.unique(nodes["parent"][now])
    renumbered = np.cumsum(wanted, dtype=np.uint32) - np.uint32(1)
    kept = nodes[wanted].copy()
    kept["parent"] = renumbered[kept["parent"]]
    kept["next"] = 0
    return kept, renumbered
