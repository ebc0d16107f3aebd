"""One page's life: what each store to its struct page changed."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zaptrace.life.folio_pages import LINK, TailLinks, field_of, stores_to
from zaptrace.life.page_members import MAPCOUNT, REFCOUNT, TYPED_BELOW, Field, PageFields
from zaptrace.life.record_layout import ALIAS, STORAGE, U64, VALUE, Array
from zaptrace.life.records import Life

ENTRY = "PTE"
"""Name of a change of a page-table entry that maps the page; see REFCOUNT and MAPCOUNT, too."""
ENTIRE, HUGE_ENTRY = "_entire_mapcount", "PMD"
"""The same of a large folio's first page: the counter of its mappings as a whole, whatever this
kernel calls it, and an entry that maps it as a whole."""


class Role(enum.StrEnum):
    """What a store was to the page, by its counters alone."""

    ALLOCATED = "allocated"
    GOT = "got"
    PUT = "put"
    FREED = "freed"
    MAPPED = "mapped"
    UNMAPPED = "unmapped"
    TYPED = "typed"
    PTE_SET = "PTE set"
    PTE_CLEARED = "PTE cleared"
    PTE_CHANGED = "PTE changed"
    PMD_SET = "PMD set"
    PMD_CLEARED = "PMD cleared"
    PMD_CHANGED = "PMD changed"
    OTHER = ""


SETS, CLEARS = (Role.PTE_SET, Role.PMD_SET), (Role.PTE_CLEARED, Role.PMD_CLEARED)
"""Roles of stores that begin a mapping, and that end one."""


@dataclass(frozen=True, slots=True)
class Change:
    """A member before and after a store; `before` is None when nothing was recorded before.

    Attributes:
        stored: whether the store covers it; else it changed unseen, beside the store.
    """

    name: str
    before: int | None
    after: int
    stored: bool = True


@dataclass(slots=True)
class Write:
    """One store.

    Attributes:
        number: its place in the whole recording.
        ns: since the recording began.
        stack: return addresses, innermost first.
        root: the start of the kernel stack that it ran on; 0 when not known.
        changes: what it changed; empty when the members had these values already.
        alias: it came through the direct map.
        storage: of a storage-to-storage instruction.
        after_stop: after the guest was stopped and dumped.
        valued: what it stored is known.
        unchanged: members that it covers, and that had this value before.
        slot: where in the guest's memory the entry lies, of a store to a page table; else None.
        pte: what such a store was to the page.
    """

    number: int
    ns: int
    cpu: int
    pc: int
    stack: tuple[int, ...]
    root: int
    changes: list[Change] = field(default_factory=list)
    alias: bool = False
    storage: bool = False
    after_stop: bool = False
    valued: bool = True
    unchanged: list[str] = field(default_factory=list)
    slot: int | None = None
    pte: Role | None = None

    def change(self, name: str) -> Change | None:
        """Return what the store did to a member; None when it did not change it."""
        return next((one for one in self.changes if one.name == name and one.stored), None)

    @property
    def role(self) -> Role:
        """What it was to the page, by its counters alone."""
        if self.pte is not None:
            return self.pte
        count = self.change(REFCOUNT)
        if count is not None and count.before is not None:
            if count.after > count.before:
                return Role.ALLOCATED if (count.before, count.after) == (0, 1) else Role.GOT
            return Role.FREED if count.after == 0 else Role.PUT
        count = self.change(MAPCOUNT)
        if count is not None and count.before is not None:
            if min(count.before, count.after) < TYPED_BELOW:
                return Role.TYPED
            return Role.MAPPED if count.after > count.before else Role.UNMAPPED
        count = self.change(ENTIRE)
        if count is not None and count.before is not None:
            return Role.MAPPED if count.after > count.before else Role.UNMAPPED
        return Role.OTHER

    @property
    def is_whole(self) -> bool:
        """Whether it is about the mappings of a large folio as a whole."""
        return any(one.name in (ENTIRE, HUGE_ENTRY) for one in self.changes)


@dataclass(frozen=True, slots=True)
class PageLife:
    """A page's life.

    Attributes:
        writes: in their order.
        all: how many there were since the boot.
        since_allocation: whether `writes` begin with the last allocation.
        entries: whether stores to page-table entries that map the page are among them.
        folio: whether it is a large folio's first page, and stores to the counter of that folio's
            mappings as a whole, which lies in the next page's struct page, are among them.
        pages: how many pages the folio has that it is the first one of; 1 where it is none, or
            where that is not known.
        parts: stores to entries that map the folio's other pages, and those pages' `_mapcount`.
    """

    pfn: int
    writes: tuple[Write, ...]
    all: int
    since_allocation: bool
    entries: bool = False
    folio: bool = False
    pages: int = 1
    parts: tuple[Write, ...] = ()


def page_life(
    life: Life,
    pfn: int,
    *,
    since_boot: bool = False,
    allocates: Callable[[int], bool] | None = None,
) -> PageLife:
    """Return the life of one page.

    Args:
        since_boot: all of it; else from the last allocation on, or all without one.
        allocates: whether the instruction at an address is an allocation's; by default any
            change of `_refcount` from 0 to 1 is one.
    """
    pages = life.pages()
    mine = np.flatnonzero(pages == np.uint64(pfn))
    stacks: dict[int, tuple[int, ...]] = {}
    writes = _Words(life, pfn, stacks).writes(mine)
    entries = list(_entries(life, np.array([pfn], np.uint64), stacks))
    whole, heads = None, _heads_a_folio(life, writes, entries)
    if heads and life.fields.entire is not None:
        whole = _of_the_folio(life, pfn, np.flatnonzero(pages == np.uint64(pfn + 1)), stacks)
    if entries or whole:
        writes = sorted([*writes, *entries, *(whole or ())], key=lambda one: one.number)
    start = 0 if since_boot else _allocation(writes, allocates)
    tails = _tails(life, pfn, writes[: start or 0]) if heads else np.zeros(0, np.uint64)
    mine_alone = tuple(writes[start or 0 :])
    since = mine_alone[0].number if mine_alone else 0
    parts = (*_entries(life, tails, stacks), *_mapcounts(life, tails, stacks)) if len(tails) else ()
    return PageLife(
        *(pfn, mine_alone, len(writes), start is not None, life.pte_format is not None),
        folio=whole is not None,
        pages=1 + len(tails),
        parts=tuple(
            sorted((one for one in parts if one.number >= since), key=lambda one: one.number)
        ),
    )


def _tails(life: Life, pfn: int, before: list[Write]) -> U64:
    """Return the other pages of a large folio.

    Since Linux kernel commit ("mm/page_alloc: move set_page_refcounted() to callers of
    prep_new_page()") (in v6.14), they are made its tails before it has its first reference; before
    that, after it.

    Args:
        before: the first page's stores before its allocation.
    """
    frees = [one.number for one in before if one.role is Role.FREED]
    return TailLinks(life).tails(pfn, frees[-1] if frees else 0)


def _mapcounts(life: Life, pages: U64, stacks: dict[int, tuple[int, ...]]) -> Iterator[Write]:
    """Yield the stores that changed the `_mapcount` of some pages."""
    field = field_of(life, MAPCOUNT)
    if field is None:
        return
    mine = np.flatnonzero(np.isin(life.pages(), pages) & stores_to(life, field))
    before: dict[int, int] = {}
    for at, page in zip(mine.tolist(), life.pages()[mine].tolist(), strict=True):
        record = life.records[at]
        if not record["flags"] & VALUE:
            before.pop(page, None)
            continue
        was, now = before.get(page), life.fields.value(field, record["value"].tobytes())
        before[page] = now
        if was is not None and was != now:
            changes = [Change(MAPCOUNT, was, now)]
            yield _to_store(life, int(life.numbers[at]), record, stacks, changes=changes)


def _heads_a_folio(life: Life, writes: list[Write], entries: list[Write]) -> bool:
    """Return whether the page was a large folio's first one, mapped as a whole or not."""
    if any(one.pte in (Role.PMD_SET, Role.PMD_CLEARED) for one in entries):
        return True
    changes = (one.change("flags") for one in writes)
    return any("head" in life.fields.flag_names(one.after) for one in changes if one is not None)


def _of_the_folio(
    life: Life, pfn: int, second: Array, stacks: dict[int, tuple[int, ...]]
) -> list[Write] | None:
    """Return the stores to the counter of a large folio's mappings as a whole; None when they are
    not known.

    While the second page is a tail, that is; the first of them initialises it
    (prep_compound_head()).  What stores more than the counter is of another member that shares its
    place (`mapping`, in 7.3): then the counter is not in use.

    Args:
        second: the places of the second page's records.
    """
    entire = life.fields.entire
    link = next((one for one in life.fields.fields if one.name == LINK), None)
    if entire is None or link is None:
        return None
    named = dataclasses.replace(entire, name=ENTIRE)
    found: list[Write] = []
    is_tail = followed = known = False
    longer = (life.records["bytes"][second] > entire.size).tolist()
    words = _Words(life, pfn + 1, stacks, (link, named)).writes(second)
    for one, other in zip(words, longer, strict=True):
        if (linked := one.change(LINK)) is not None:
            is_tail, followed = bool(linked.after & 1), False
        one.changes = [change for change in one.changes if change.name == ENTIRE]
        one.unchanged = [name for name in one.unchanged if name == ENTIRE]
        if not is_tail or not (one.changes or one.unchanged or not one.valued):
            continue
        if other:
            followed = False
        elif followed:
            found.append(one)
        elif one.change(ENTIRE) is not None or one.unchanged:
            followed = known = True
    return found if known else None


def _allocation(writes: list[Write], allocates: Callable[[int], bool] | None) -> int | None:
    """Return where the last allocation is."""
    first = [at for at, one in enumerate(writes) if one.role is Role.ALLOCATED]
    if allocates is not None:
        first = [at for at in first if allocates(writes[at].pc)] or first
    if first:
        return first[-1]
    return None


def _entries(life: Life, wanted: U64, stacks: dict[int, tuple[int, ...]]) -> Iterator[Write]:
    """Yield the stores to page-table entries that map one of some pages, or mapped it."""
    if life.pte_format is None:
        return
    for pages, name, (set_, cleared, changed) in (
        (life.pte_format.pfns, ENTRY, (Role.PTE_SET, Role.PTE_CLEARED, Role.PTE_CHANGED)),
        (life.pte_format.heads, HUGE_ENTRY, (Role.PMD_SET, Role.PMD_CLEARED, Role.PMD_CHANGED)),
    ):
        if name == HUGE_ENTRY and not life.pte_format.huge:
            continue
        before, after = (np.isin(pages(life.ptes[side]), wanted) for side in ("before", "after"))
        for at in np.flatnonzero(before | after).tolist():
            role = set_ if not before[at] else cleared
            if before[at] and after[at]:
                role = changed
            yield _to_entry(life, life.ptes[at], role, stacks, name)


def last_store(life: Life, slot: int) -> Write | None:
    """Return the last store to a page-table entry before the stop, whatever it stored; None
    without one.

    Args:
        slot: where the entry lies in the guest's memory.
    """
    mine = life.ptes[life.ptes["slot"] == np.uint64(slot)]
    found = [one for one in mine if not _is_after_stop(life, int(one["number"]))]
    return _to_entry(life, found[-1], Role.PTE_CHANGED, {}) if found else None


def entry_store(life: Life, pfn: int, number: int) -> Write | None:
    """Return the store of this number that made a page-table entry map a page; None without."""
    found = life.ptes[life.ptes["number"] == np.uint64(number)]
    if life.pte_format is None or len(found) != 1:
        return None
    if int(life.pte_format.pfns(found["after"])[0]) == pfn:
        return _to_entry(life, found[0], Role.PTE_SET, {})
    if int(life.pte_format.heads(found["after"])[0]) == pfn:
        return _to_entry(life, found[0], Role.PMD_SET, {}, HUGE_ENTRY)
    return None


def _to_entry(
    life: Life, record: Any, role: Role, stacks: dict[int, tuple[int, ...]], name: str = ENTRY
) -> Write:
    """Return a record of PTE as a store."""
    was = int(record["before"]) if record["known"] else None
    changes = [Change(name, was, int(record["after"]))]
    number, slot = int(record["number"]), int(record["slot"])
    return _to_store(life, number, record, stacks, changes=changes, slot=slot, pte=role)


def _to_store(
    life: Life, number: int, record: Any, stacks: dict[int, tuple[int, ...]], **members: Any
) -> Write:
    """Return a record of either kind as a store.

    Args:
        stacks: those that were walked already: each is walked only once.
        members: what only records of its kind have.
    """
    node = int(record["stack"])
    if node not in stacks:
        stacks[node] = life.stack(node)
    stack = stacks[node]
    return Write(
        number=number,
        ns=max(int(record["ns"]) - life.facts.start_ns, 0),
        cpu=int(record["cpu"]),
        pc=int(record["pc"]),
        stack=stack[:-1],
        root=stack[-1] if stack else 0,
        after_stop=_is_after_stop(life, number),
        **members,
    )


def _is_after_stop(life: Life, number: int) -> bool:
    return life.facts.stop is not None and number >= life.facts.stop


class _Words:
    """The words of a struct page as the records go by."""

    def __init__(
        self,
        life: Life,
        pfn: int,
        stacks: dict[int, tuple[int, ...]],
        fields: Sequence[Field] | None = None,
    ) -> None:
        self._life = life
        self._stacks = stacks
        self._at = life.facts.base + pfn * life.fields.size
        self._now: dict[int, bytes] = {}
        self._fields: dict[int, list[Field]] = {}
        self._beside: dict[str, tuple[Write, Change]] = {}
        for one in life.fields.fields if fields is None else fields:
            self._fields.setdefault(one.offset // 8, []).append(one)

    def writes(self, mine: Array) -> list[Write]:
        """Yield the stores whose records have these places."""
        life = self._life
        found: list[Write] = []
        for at in mine.tolist():
            record = life.records[at]
            number, flags = int(life.numbers[at]), int(record["flags"])
            write = _to_store(
                *(life, number, record, self._stacks),
                alias=bool(flags & ALIAS),
                storage=bool(flags & STORAGE),
                valued=bool(flags & VALUE),
            )
            place = int(record["va"]) - self._at
            self._step(write, place, int(record["bytes"]), record["value"].tobytes())
            found.append(write)
        return found

    def _step(self, write: Write, place: int, size: int, value: bytes) -> None:
        word = place // 8
        if not write.valued:
            self._now.pop(word, None)
            return
        before = self._now.get(word)
        for one in self._fields.get(word, ()):
            stored = one.offset < place + size and one.offset + one.size > place
            self._field(write, one, self._life.fields, before, value, stored)
        self._now[word] = value

    def _field(
        self,
        write: Write,
        one: Field,
        fields: PageFields,
        before: bytes | None,
        value: bytes,
        stored: bool,
    ) -> None:
        was = None if before is None else fields.value(one, before)
        now = fields.value(one, value)
        if stored:
            early = self._beside.pop(one.name, None)
            if was != now:
                write.changes.append(Change(one.name, was, now))
            elif early is not None and early[0].cpu != write.cpu:
                # Two CPUs stored to this word at once: the other's record saw this one's value.
                early[0].changes.remove(early[1])
                write.changes.append(Change(one.name, early[1].before, early[1].after))
            else:
                write.unchanged.append(one.name)
        elif was is not None and was != now:
            change = Change(one.name, was, now, stored=False)
            write.changes.append(change)
            self._beside[one.name] = (write, change)
