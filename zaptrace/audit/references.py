"""Who holds the references of a folio, as far as it can be known.

A reference is held by (folio_expected_ref_count() in include/linux/mm.h counts the first four):

- each entry of a page table that maps the folio, or that stands for it while a device has it (for
  itself: "mm: device exclusive memory access", 5.14);
- the page cache, one for each page (of hugetlb's one for the folio, until "mm/filemap: remove
  hugetlb special casing in filemap.c", 6.7);
- the swap cache, one for each page;
- private data: buffer heads and what else a file system attaches (PG_private);
- each place in a CPU's batch of folios on their way to or between the LRU lists (mm/swap.c,
  mm/mlock.c): a folio that was just added, or is to be moved;
- each pipe buffer that has one of its pages;
- a memory failure, for good (PG_hwpoison);
- get_user_pages() and everything else in the kernel that looks at the page now, which nothing
  records: a pin (FOLL_PIN) adds 1,024 to a small folio's refcount, a get adds one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import drgn
import numpy as np
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu_ptr

from zaptrace.audit.arrays import NOWHERE, Counts, Index, Mask
from zaptrace.audit.functions import has_function
from zaptrace.audit.openfiles import OpenFiles
from zaptrace.audit.optional import is_broken, optional_step
from zaptrace.audit.pagetables.nonpresent import SwapKind
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.page_flags import has_bit
from zaptrace.audit.structpages.table import MAPPING_FLAGS
from zaptrace.memory.members import first_member
from zaptrace.model.task_name import task_name

DEVICE_KINDS = (SwapKind.DEVICE_PRIVATE, SwapKind.DEVICE_EXCLUSIVE)
PIN = 1 << 10  # GUP_PIN_COUNTING_BIAS, include/linux/mm.h
BATCHES_UNREAD = "per-CPU batches of folios"
PIPES_UNREAD = "pipes"
TABLES_UNREAD = "some page tables"
PINS = "pins"
_SWAP_CACHE = "swap cache"

_MOST_SLOTS = 1 << 16  # of one pipe; pipe_max_size is 256 pages unless root raised it
_MOST_IN_BATCH = 64  # PAGEVEC_SIZE is 15, since 6.12 31
_FLAGS = (
    *("lru", "private", "private_2", "swapcache", "swapbacked"),
    *("locked", "writeback", "hwpoison", "reserved"),
)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds how many references of a folio.

    Attributes:
        what: `PTEs`, `page cache`, `swap cache`, `private data`, `LRU batch`, `pipe`, `pins`,
            `memory failure` or `allocator's user`.
        references: how many.
        who: which mm, CPU, pipe or file, None where there is nothing to name.
    """

    what: str
    references: int
    who: str | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """The references of one folio.

    Attributes:
        refcount: of its first page.
        holders: who holds them.
        unexplained: how many nothing is found to hold; negative when more are held than counted.
        unread: what could not be looked at, which may hold some of them.
    """

    refcount: int
    holders: tuple[Holder, ...]
    unexplained: int
    unread: tuple[str, ...]

    @property
    def pinned(self) -> int:
        """How many of them pins are."""
        return sum(one.references for one in self.holders if one.what == PINS)

    @property
    def swapped(self) -> bool:
        """Whether the folio is in the swap cache."""
        return any(one.what == _SWAP_CACHE for one in self.holders)


class References:
    """Answers for one audit."""

    def __init__(self, state: KernelState, owners: Owners) -> None:
        self._state = state
        self._owners = owners
        self._prog = state.prog
        self.unread: Counter[str] = Counter()

    @cached_property
    def files(self) -> OpenFiles:
        """The open files."""
        return OpenFiles(self._prog)

    @cached_property
    def batches(self) -> dict[int, list[str]]:
        """Index of a folio's first page -> the CPU and batch of each place that it has in one."""
        found: dict[int, list[str]] = {}
        for cpu in for_each_possible_cpu(self._prog):
            for name, batch in self._batches_of(cpu):
                for index in self._in_batch(batch):
                    found.setdefault(index, []).append(f"CPU {cpu}, {name}")
        return found

    @cached_property
    def pipes(self) -> dict[int, list[str]]:
        """Index of a folio's first page -> who has the pipe of each buffer that has a page of it.

        A FIFO or a pipe that no process has open any more, but a message on its way to one does,
        is not found.
        """
        found: dict[int, list[str]] = {}
        seen: set[int] = set()
        for file in self.files.of_kinds("pipefifo_fops", "pipeanon_fops"):
            with optional_step(lambda: self.unread.update([PIPES_UNREAD])):
                pipe = drgn.cast("struct pipe_inode_info *", file.obj.private_data)
                if pipe.value_() in seen:
                    continue
                seen.add(pipe.value_())
                for index in self._in_pipe(pipe):
                    who = task_name(self._comm(file.pid), file.pid)
                    found.setdefault(index, []).append(who)
        if not self.files.complete:
            self.unread[PIPES_UNREAD] += 1
        return found

    def flag(self, name: str, where: Index) -> Mask:
        """Return which of some pages have a flag; none where this kernel has no such flag."""
        number = self._bits.get(name)
        if number is None:
            return np.zeros(len(where), bool)
        return has_bit(self._state.pages.column("flags", where), number)

    def excess(self) -> tuple[Index, Counts]:
        """Return the user folios with more references than is explained, pipes left aside.

        User folios are those on the LRU lists, those of hugetlb, and anonymous ones.  Left out
        are those that I/O or a memory failure is at, and those that have private data: what holds
        them is not known.

        Returns:
            The indices of their first pages, and how many references each has too many.
        """
        recorded = self._state.recorded
        flags = self._state.pages.column("flags")
        lru = self._bits.get("lru")
        user = recorded.hugetlb | (recorded.anon & recorded.mappable)
        if lru is not None:
            user |= has_bit(flags, lru)
        user &= recorded.known & ~recorded.free & (recorded.refcount > recorded.mappings)
        heads = np.flatnonzero(user)
        heads = heads[recorded.head[heads] == heads]
        odd = np.zeros(len(heads), bool)
        for name in ("private", "private_2", "locked", "writeback", "hwpoison", "reserved"):
            odd |= self.flag(name, heads) & ~(recorded.hugetlb[heads] & (name == "private"))
        heads = heads[~odd]
        counts = recorded.refcount[heads].astype(np.int64)
        counts -= np.maximum(recorded.mappings[heads], self._state.ptes[heads])
        counts -= self._in_page_cache(heads) + self._in_swap_cache(heads)
        over = counts > 0
        heads, counts = heads[over], counts[over]
        batches, devices = self.batches, self._unmapped_device_entries
        held = [len(batches.get(at, ())) + devices[at] for at in heads.tolist()]
        counts -= np.array(held, np.int64)
        over = counts > 0
        return heads[over], counts[over]

    def account(self, head: int) -> Account:
        """Return who holds the references of a folio, by the index of its first page."""
        holders = [*self._mappers(head), *self._caches(head), *self._others(head)]
        refcount = int(self._state.recorded.refcount[head])
        left = refcount - sum(one.references for one in holders)
        pins = self._pins(head, left)
        if pins:
            references = pins if self._state.recorded.order[head] else pins * PIN
            holders.append(Holder(PINS, references, f"{pins} by get_user_pages()"))
            left -= references
        if left > 0 and not self._is_user(head) and not self._state.recorded.free[head]:
            holders.append(Holder("allocator's user", 1, self._use(head)))
            left -= 1
        unread = set(self.unread)
        if self._state.blind or not self._state.whole:
            unread.add(TABLES_UNREAD)
        return Account(refcount, tuple(holders), left, tuple(sorted(unread)))

    def leaves_of(self, head: int) -> Index:
        """Return the leaves of the page tables that map a folio."""
        first, pages = self._state.first, 1 << int(self._state.recorded.order[head])
        leaves = np.flatnonzero((first >= head) & (first < head + pages))
        return leaves[self._state.counted[leaves]]

    @cached_property
    def _bits(self) -> dict[str, int]:
        found = {}
        for name in _FLAGS:
            with optional_step():
                found[name] = int(self._prog.constant(f"PG_{name}").value_())
        return found

    @cached_property
    def _one_for_hugetlb(self) -> bool:
        """Return whether the page cache holds one reference of a hugetlb folio, whatever its size.

        linear_hugepage_index() went with that.
        """
        return has_function(self._prog, "linear_hugepage_index")

    def _pages(self, heads: Index) -> Counts:
        return np.left_shift(np.int64(1), self._state.recorded.order[heads].astype(np.int64))

    def _in_page_cache(self, heads: Index) -> Counts:
        """Return references that the page cache holds. Shape of `heads`."""
        mapping = self._state.pages.column("mapping", heads)
        cached = (mapping > MAPPING_FLAGS) & ((mapping & np.uint64(MAPPING_FLAGS)) == 0)
        cached &= self._state.recorded.mappable[heads]  # elsewhere something lies over it
        pages = self._pages(heads)
        if self._one_for_hugetlb:
            pages[self._state.recorded.hugetlb[heads]] = 1
        return np.where(cached, pages, 0)

    def _in_swap_cache(self, heads: Index) -> Counts:
        cached = self.flag("swapcache", heads) & self.flag("swapbacked", heads)
        cached &= ~self._state.recorded.hugetlb[heads]
        return np.where(cached, self._pages(heads), 0)

    def _is_user(self, head: int) -> bool:
        recorded, where = self._state.recorded, np.array([head])
        mapping = int(self._state.pages.column("mapping", where)[0])
        lru = bool(self.flag("lru", where)[0])
        return (
            lru or bool(recorded.hugetlb[head]) or (mapping != 0 and bool(recorded.mappable[head]))
        )

    def _use(self, head: int) -> str | None:
        return "slab" if not self._state.recorded.mappable[head] else None

    def _mappers(self, head: int) -> Iterator[Holder]:
        mms = self._state.walked.mm[self.leaves_of(head)]
        for number, count in sorted(Counter(mms.tolist()).items()):
            owner = self._owners.owner_of_mm(number)
            unused = owner.pid is None
            who = "an mm of no known task" if unused else task_name(owner.comm, owner.pid)
            yield Holder("PTEs", count, who)

        of_devices = self._device_entries[head]
        if of_devices:
            yield Holder("device entries", of_devices)

    @cached_property
    def _device_entries(self) -> Counter[int]:
        """First page of a folio -> entries of page tables that stand for it."""
        return self._entries(np.isin(self._state.absent.kind, DEVICE_KINDS))

    @cached_property
    def _unmapped_device_entries(self) -> Counter[int]:
        """Those of them that do not count as mappings."""
        absent = self._state.absent
        return self._entries(np.isin(absent.kind, DEVICE_KINDS) & ~absent.mapped)

    def _entries(self, which: Mask) -> Counter[int]:
        at = self._state.pages.indices(self._state.absent.pfn[which])
        return Counter(self._state.recorded.head[at[at != NOWHERE]].tolist())

    def _caches(self, head: int) -> Iterator[Holder]:
        where = np.array([head])
        for what, counts in (
            ("page cache", self._in_page_cache(where)),
            (_SWAP_CACHE, self._in_swap_cache(where)),
        ):
            if counts[0]:
                yield Holder(what, int(counts[0]))

    def _others(self, head: int) -> Iterator[Holder]:
        where = np.array([head])
        if self.flag("private", where)[0] and not self._state.recorded.hugetlb[head]:
            yield Holder("private data", 1)
        if self.flag("hwpoison", where)[0]:
            yield Holder("memory failure", 1)
        for what, places in (("LRU batch", self.batches), ("pipe", self.pipes)):
            for who, count in Counter(places.get(head, ())).items():
                yield Holder(what, count, who)

    def _pins(self, head: int, left: int) -> int:
        """Return how often a folio is pinned: of a small one as far as its refcount says it.

        Args:
            left: the references that nothing else holds.
        """
        if not self._state.recorded.order[head]:
            return max(left, 0) // PIN
        with optional_step():
            address = int(self._state.pages.addresses(np.array([head]))[0])
            folio = drgn.Object(self._prog, "struct folio *", value=address)
            return max(int(folio.member_("_pincount").counter.value_()), 0)
        return 0

    def _comm(self, pid: int) -> str | None:
        for mm in self._state.mms:
            for task in mm.tasks:
                if task.tgid == pid:
                    return task.comm
        return None

    def _batches_of(self, cpu: int) -> Iterator[tuple[str, drgn.Object]]:
        """Yield a CPU's batches by name. 5.18 to 6.0 made folio_batches of pagevecs."""
        for variable in ("cpu_fbatches", "lru_rotate", "mlock_fbatch", "mlock_pvec"):
            try:
                batches = per_cpu_ptr(self._prog[variable].address_of_(), cpu)
            except LookupError:
                continue
            except Exception as error:
                if not is_broken(error):
                    raise
                self.unread[BATCHES_UNREAD] += 1
                continue
            for member in batches.type_.type.members or ():
                if member.name and member.type.type_name() in (
                    "struct folio_batch",
                    "struct pagevec",
                ):
                    name = member.name if variable == "cpu_fbatches" else variable
                    yield name, batches.member_(member.name)

    def _in_batch(self, batch: drgn.Object) -> Iterator[int]:
        """Yield the first pages of the folios in a batch; low bits of an entry are mlock's
        flags."""
        with optional_step(lambda: self.unread.update([BATCHES_UNREAD])):
            entries = first_member(batch, "folios", "pages")
            count = min(batch.nr.value_(), _MOST_IN_BATCH, entries.type_.length)
            for entry in entries[:count]:
                index = self._state.pages.index_at(entry.value_() & ~3)
                if index != NOWHERE:
                    yield int(self._state.recorded.head[index])

    def _in_pipe(self, pipe: drgn.Object) -> Iterator[int]:
        head, tail, size = (pipe.member_(n).value_() for n in ("head", "tail", "ring_size"))
        buffers = pipe.bufs.read_()
        used = (head - tail) % (1 << 32)
        if not size or size & (size - 1) or used > min(size, _MOST_SLOTS):
            raise ValueError("a broken pipe")
        for slot in range(tail, tail + used):
            index = self._state.pages.index_at(buffers[slot & (size - 1)].page.value_())
            if index != NOWHERE:
                yield int(self._state.recorded.head[index])
