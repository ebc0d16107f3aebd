"""Which pages lie on the per-CPU free lists (`struct per_cpu_pages`, mm/page_alloc.c).

Pages in the buddy allocator itself are known by their page type; those on a
CPU's list look like any page that is not in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import drgn
import numpy as np
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.mmzone import for_each_online_pgdat
from drgn.helpers.linux.percpu import per_cpu_ptr

from zaptrace.audit.arrays import NOWHERE, Index, Words
from zaptrace.audit.structpages.table import StructPages


def on_cpu_lists(prog: drgn.Program, pages: StructPages) -> tuple[Index, int]:
    """Walk every per-CPU free list.

    Returns:
        The indices of the first page of each entry, ascending, and how many lists
        are broken (they do not lead back to where they begin) or could not be read;
        nothing of those is there.
    """
    nexts = pages.links()
    found: set[int] = set()
    broken = 0
    member = drgn.offsetof(prog.type("struct page"), "lru")

    def index_of(entry: int) -> int:
        return pages.index_at(entry - member)

    for _, lists in _all_lists(prog):
        if lists is None:
            broken += 1
            continue
        for head in lists:
            mine = members(head.address_, head.next.value_(), index_of, nexts)
            if mine is None or not found.isdisjoint(mine):
                broken += 1
            else:
                found.update(mine)
    return np.array(sorted(found), np.int64), broken


def members(
    head: int, first: int, index_of: Callable[[int], int], nexts: Words
) -> Sequence[int] | None:
    """Return the pages of a circular list; None when it does not lead back to its head.

    In a running kernel a page that is taken meanwhile leads into another list, perhaps of all
    the pages that there are.

    Args:
        head, first: addresses of the list_head and of its first entry.
        index_of: the index of the page that an entry's address belongs to.
        nexts: the address of the next entry, by index.
    """
    mine: dict[int, None] = {}
    entry = first
    while entry != head:
        index = index_of(entry)
        if index == NOWHERE or index in mine:
            return None
        mine[index] = None
        entry = int(nexts[index])
    return list(mine)


def breaks(prog: drgn.Program, pages: StructPages) -> Iterator[tuple[int, str]]:
    """Yield the pages at which per-CPU free lists break, by index, each with what it is there.

    A list that breaks at its head has no such page.  Where a struct page is not in the dump, it is
    not known how its list goes on.
    """
    nexts = pages.links()
    member = drgn.offsetof(prog.type("struct page"), "lru")
    on_list: dict[int, str] = {}
    for whose, lists in _all_lists(prog):
        for head in lists if lists is not None else ():
            first, mine, last = head.next.value_(), set[int](), NOWHERE
            entry = first
            while entry != head.address_:
                index = pages.index_at(entry - member)
                if index == NOWHERE or index in mine or index in on_list:
                    if last != NOWHERE and pages.readable[last]:
                        said = "itself"
                        if index != last:
                            said = _led_to(pages, whose, entry, index, on_list.get(index))
                        yield last, f"on a free list ({whose}), and its lru.next leads to {said}"
                    break
                mine.add(index)
                last, entry = index, int(nexts[index])
            on_list.update(dict.fromkeys(mine, whose))


def _led_to(pages: StructPages, whose: str, entry: int, index: int, other: str | None) -> str:
    """Return what a page of a list leads to that is not the next one of that list.

    Args:
        index: that page, NOWHERE where `entry` is no page's.
        other: whose list that page is on, if it is on one that was walked before.
    """
    if index == NOWHERE:
        return f"{entry:#x}, which is no page's and does not end that list"
    pfn = int(pages.pfns(np.array([index]))[0])
    if other is None:
        return f"pfn {pfn:#x}, which stands before it"
    return f"pfn {pfn:#x}, which is on {other if other != whose else 'another of those'}"


def listed_at(prog: drgn.Program, pages: StructPages, index: int) -> str | None:
    """Return whose per-CPU list a page lies on, as "CPU 1's list of zone Normal".

    Of an entry of a higher order only the first page is found.
    """
    nexts = pages.links()
    member = drgn.offsetof(prog.type("struct page"), "lru")
    for whose, lists in _all_lists(prog):
        for head in lists if lists is not None else ():
            first = head.next.value_()
            mine = members(
                head.address_, first, lambda entry: pages.index_at(entry - member), nexts
            )
            if mine is not None and index in mine:
                return whose
    return None


def _all_lists(prog: drgn.Program) -> Iterator[tuple[str, drgn.Object | None]]:
    """Whose they are, and `per_cpu_pages.lists`, of each zone and CPU; None for unreadable ones."""
    cpus = list(for_each_possible_cpu(prog))
    for pgdat in for_each_online_pgdat(prog):
        for zone in pgdat.node_zones[: pgdat.nr_zones.value_()]:
            if not zone.present_pages:
                continue
            for cpu in cpus:
                whose = f"CPU {cpu}'s list of zone {_name(zone)}"
                try:
                    # Read at once: the lists' heads are then looked at for nothing.
                    yield whose, _per_cpu_pages(zone, cpu).lists
                except (drgn.FaultError, AttributeError):
                    yield whose, None


def _name(zone: drgn.Object) -> str:
    try:
        name: bytes = zone.name.string_()
        return name.decode(errors="replace")
    except drgn.FaultError:
        return "?"


def _per_cpu_pages(zone: drgn.Object, cpu: int) -> drgn.Object:
    try:
        # "mm/page_alloc: split per cpu page lists and zone stats" (5.14)
        return per_cpu_ptr(zone.per_cpu_pageset, cpu)
    except AttributeError:
        return per_cpu_ptr(zone.pageset, cpu).pcp
