"""One page's life: what each store to its struct page changed."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from zaptrace.life.page_members import TYPED_BELOW, Field, PageFields
from zaptrace.life.record_layout import ALIAS, STORAGE, VALUE, Array
from zaptrace.life.records import Life

REFCOUNT, MAPCOUNT = "_refcount", "_mapcount"


class Role(enum.StrEnum):
    """What a store was to the page, by its counters alone."""

    ALLOCATED = "allocated"
    GOT = "got"
    PUT = "put"
    FREED = "freed"
    MAPPED = "mapped"
    UNMAPPED = "unmapped"
    TYPED = "typed"
    OTHER = ""


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

    def change(self, name: str) -> Change | None:
        """What it did to a member."""
        return next((one for one in self.changes if one.name == name and one.stored), None)

    @property
    def role(self) -> Role:
        """What it was to the page, by its counters alone."""
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
        return Role.OTHER


@dataclass(frozen=True, slots=True)
class PageLife:
    """A page's life.

    Attributes:
        writes: in their order.
        all: how many there were since the boot.
        since_allocation: whether `writes` begin with the last allocation.
    """

    pfn: int
    writes: tuple[Write, ...]
    all: int
    since_allocation: bool


def page_life(
    life: Life,
    pfn: int,
    *,
    since_boot: bool = False,
    allocates: Callable[[int], bool] | None = None,
) -> PageLife:
    """The life of one page.

    Args:
        since_boot: all of it; else from the last allocation on, or all where there is none.
        allocates: whether the instruction at an address is an allocation's; by default any
            change of `_refcount` from 0 to 1 is one.
    """
    mine = np.flatnonzero(life.pages() == np.uint64(pfn))
    writes = _Words(life, pfn).writes(mine)
    start = 0 if since_boot else _allocation(writes, allocates)
    return PageLife(pfn, tuple(writes[start or 0 :]), len(writes), bool(start is not None))


def _allocation(writes: list[Write], allocates: Callable[[int], bool] | None) -> int | None:
    """Where the last allocation is."""
    first = [at for at, one in enumerate(writes) if one.role is Role.ALLOCATED]
    if allocates is not None:
        first = [at for at in first if allocates(writes[at].pc)] or first
    if first:
        return first[-1]
    return None


class _Words:
    """The words of a struct page as the records go by."""

    def __init__(self, life: Life, pfn: int) -> None:
        self._life = life
        self._at = life.facts.base + pfn * life.fields.size
        self._now: dict[int, bytes] = {}
        self._fields: dict[int, list[Field]] = {}
        self._beside: dict[str, tuple[Write, Change]] = {}
        for one in life.fields.fields:
            self._fields.setdefault(one.offset // 8, []).append(one)

    def writes(self, mine: Array) -> list[Write]:
        """Of the records with these places."""
        life, stacks = self._life, {}
        found: list[Write] = []
        for at in mine.tolist():
            record = life.records[at]
            node, number = int(record["stack"]), int(life.numbers[at])
            if node not in stacks:
                stacks[node] = life.stack(node)
            stack = stacks[node]
            flags = int(record["flags"])
            write = Write(
                number=number,
                ns=max(int(record["ns"]) - life.facts.start_ns, 0),
                cpu=int(record["cpu"]),
                pc=int(record["pc"]),
                stack=stack[:-1],
                root=stack[-1] if stack else 0,
                alias=bool(flags & ALIAS),
                storage=bool(flags & STORAGE),
                after_stop=life.facts.stop is not None and number >= life.facts.stop,
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
        elif was is not None and was != now:
            change = Change(one.name, was, now, stored=False)
            write.changes.append(change)
            self._beside[one.name] = (write, change)
