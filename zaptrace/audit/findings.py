"""Findings in words: which page, in what state, whose, and why it may be in flight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from zaptrace.audit import invariants, rss
from zaptrace.audit.arrays import NOWHERE, Counts, Index
from zaptrace.audit.mms import RSS_COUNTERS
from zaptrace.audit.pagetables.nonpresent import IN_RSS, SwapKind
from zaptrace.audit.pagetables.walk import Runs
from zaptrace.audit.rmap import Owners, Place
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.mapcount import uninitialised
from zaptrace.model.findings import Finding, FindingClass

MAX_MAPPINGS = 64
"""Mappings named in one finding; libc's pages can have thousands."""
MAX_FINDINGS = 10_000
"""Pages that are described; the rest is counted in `unseen`."""
NOT_INITIALISED = "not initialised"
NOT_IN_DUMP = "not in the dump"
"""Kinds of pages of which nothing is known."""
NEIGHBOURS = 2
"""Pages shown on each side of a page."""


def page_finding(state: KernelState, owners: Owners, suspect: invariants.Suspect) -> Finding:
    """Return the finding about one page."""
    recorded, index = state.recorded, suspect.index
    head = int(recorded.head[index])
    mapped = owners.mapped_at(index)
    mappable = bool(recorded.mappable[index])
    short = int(recorded.mapcount[index]) - suspect.ptes if mappable else 0
    lost, busy, excused = list[Place](), set[int](), 0
    # A count below zero says how many removals were too many, not who still maps the page.
    if owners.is_zero(head):
        pass  # its mappings are not counted
    elif short > 0 or suspect.cls is FindingClass.MAPCOUNT_UNDERFLOW:
        lost, busy, excused = _lost(state, owners, index, set(mapped), max(short, 1))
    elif short < 0:
        left = _left(state, owners, head, mapped)
        busy, excused = {place.mm for place in left}, len(left)
    cls = invariants.settle(suspect.cls, abs(short), excused)
    places = (mapped + lost)[:MAX_MAPPINGS]
    return Finding(
        cls=cls,
        pfn=int(state.pages.pfns(np.array([index]))[0]),
        ptes=suspect.ptes,
        mapcount=int(recorded.mapcount[index]) if mappable else None,
        refcount=int(recorded.refcount[index]),
        flags=flag_names(state, index),
        mappings=tuple(owners.owner(place) for place in places),
        folio=folio(state, owners, head) | {"neighbours": neighbours(state, owners, index)},
        raw_mapcount=int(recorded.raw_mapcount[index]),
        note=_note(state, len(mapped), len(lost), busy),
    )


def _lost(
    state: KernelState, owners: Owners, index: int, mapped: set[Place], short: int
) -> tuple[list[Place], set[int], int]:
    """Return where a page's missing PTEs probably were, which mms in flight took them, and how many
    such places there are.

    An mm in flight explains the loss where the rmap leads to it.  A page without an rmap to
    follow (not yet: page_add_new_anon_rmap() counts first; or a broken one) may belong to any of
    them, and one that is getting its first PTE to any that its rmap leads to.
    """
    head = int(state.recorded.head[index])
    remembered, complete = owners.candidates(index, head)
    places = [place for place in remembered if place not in mapped]
    # While __split_huge_pmd_locked() counts the PTEs to come, the huge one is still there.
    split = [place for place in remembered if place in mapped and not owners.has_table(place)]
    moving = [place for place in places + split if _in_flight_at(state, owners, place)]
    busy = {place.mm for place in moving}
    if len(moving) >= short:
        return [place for place in moving if place not in mapped], busy, len(moving)
    # A fork's copy maps another page there by now; where nothing is mapped, a PTE went missing.
    empty = [place for place in places if owners.is_empty(place)]
    if complete and not mapped and (new := owners.first_mapped_in(head)):
        return [], new, short
    if complete:
        return empty, busy, len(moving)
    return empty, busy or set(state.in_flight), short if state.in_flight else 0


def _left(state: KernelState, owners: Owners, head: int, mapped: list[Place]) -> list[Place]:
    """Return which of a page's PTEs may have lost their rmap before they go, without being a bug:
    collapse_pte_mapped_thp()'s of a file's huge page."""
    recorded = state.recorded
    if recorded.anon[head] or recorded.hugetlb[head] or not recorded.order[head]:
        return []
    mms = {number for number, busy in state.in_flight.items() if busy.collapsing}
    return [place for place in mapped if place.mm in mms and owners.has_table(place)]


def _in_flight_at(state: KernelState, owners: Owners, place: Place) -> bool:
    """Return whether the PTE of a place may be there or not at this moment."""
    busy = state.in_flight.get(place.mm)
    if busy is None:
        return False
    return busy.guards(place.address) or (busy.collapsing and not owners.has_table(place))


def _note(state: KernelState, mapped: int, lost: int, busy: Iterable[int]) -> str | None:
    said = [str(state.in_flight[number]) for number in sorted(busy)]
    if lost:
        said.append(
            f"{'the only mapping' if lost == 1 and not mapped else f'{lost} of the mappings'}"
            f" named here {'has' if lost == 1 else 'have'} no PTE any more"
        )
    if mapped + lost > MAX_MAPPINGS:
        said.append(f"{mapped + lost - MAX_MAPPINGS} more mappings are not named")
    return "; ".join(said) or None


def flag_names(state: KernelState, index: int) -> tuple[str, ...]:
    """Names of enum pageflags; of a bit with several the first, which the kernel prints too."""
    flags = int(state.pages.column("flags", np.array([index]))[0])
    try:
        last = state.prog.constant("__NR_PAGEFLAGS")
    except LookupError:
        state.gaps["names of page flags"] = 1
        return ()
    names: dict[int, str] = {}
    for enumerator in last.type_.enumerators or ():
        if enumerator.value < last.value_():
            names.setdefault(enumerator.value, enumerator.name.removeprefix("PG_"))
    return tuple(name for bit, name in sorted(names.items()) if flags >> bit & 1)


def folio(state: KernelState, owners: Owners, head: int) -> dict[str, Any]:
    """Return a folio by the index of its first page: pfn, order, kind, free, PTEs of all its
    pages."""
    recorded = state.recorded
    pages = slice(head, head + (1 << int(recorded.order[head])))
    return {
        "pfn": int(state.pages.pfns(np.array([head]))[0]),
        "order": int(recorded.order[head]),
        "kind": "hugetlb" if recorded.hugetlb[head] else owners.kind(head),
        "free": bool(recorded.free[head]),
        "ptes": int(state.ptes[pages].sum()),
    }


def neighbours(state: KernelState, owners: Owners, index: int) -> list[dict[str, Any]]:
    """Return the pages around a page, itself left out: what lay beside it when it went wrong.

    Of each: pfn, kind, ptes, mapcount (None when the field counts no mappings), refcount (None
    when it is not known).
    """
    recorded, pages = state.recorded, state.pages
    around = range(max(0, index - NEIGHBOURS), min(len(pages), index + NEIGHBOURS + 1))
    found = []
    for here in around:
        if here == index:
            continue
        mappable = bool(recorded.mappable[here])
        found.append(
            {
                "pfn": int(pages.pfns(np.array([here]))[0]),
                "kind": kind(state, owners, here),
                "ptes": int(state.ptes[here]),
                "mapcount": int(recorded.mapcount[here]) if mappable else None,
                "refcount": int(recorded.refcount[here]) if recorded.known[here] else None,
            }
        )
    return found


def kind(state: KernelState, owners: Owners, index: int) -> str:
    """Return what a page is, in one or two words."""
    recorded = state.recorded
    if not recorded.known[index]:
        never = uninitialised(state.pages, np.array([index]))[0]
        return NOT_INITIALISED if never else NOT_IN_DUMP
    if recorded.free[index]:
        return "free"
    if recorded.hugetlb[index]:
        return "hugetlb"
    if not recorded.mappable[index]:
        return "kernel"
    return owners.kind(int(recorded.head[index]))


def rss_findings(state: KernelState, owners: Owners) -> list[Finding]:
    """Return the mms whose rss counters are not what their tables map.

    The counters change under the page-table lock, except when a running task adds what it has
    cached (sync_mm_rss()): an mm that a runnable task or no task uses is not judged, one in flight
    is reported as just that, as long as what is in flight is enough for the difference; so is one
    whose task is inside execve().
    """
    mapped, mms = mapped_rss(state), len(state.mms)
    counters = [mm.rss or [0] * len(RSS_COUNTERS) for mm in state.mms]
    recorded = np.array(counters, np.int64).reshape(-1, len(RSS_COUNTERS))
    swaps = state.absent.per_mm(SwapKind.SWAP, mms)
    unresolved = state.absent.per_mm(SwapKind.UNKNOWN, mms)
    wrong = invariants.rss_mismatches(mapped, recorded, swaps, unresolved)
    excess = recorded - np.column_stack([mapped, swaps])
    missing = np.abs(excess).max(axis=1, initial=0) - unresolved
    if wrong.any():
        # Perhaps a page that is reported already, whose kind is no longer known.
        known = mapped_rss(state, invariants.strayed(state.ptes, state.recorded))
        strayed = (mapped - known).sum(axis=1)
        wrong = invariants.rss_mismatches(known, recorded, swaps, unresolved + strayed)
        missing -= strayed
    obscure = _with_unknown_pages(state)
    state.gaps["mms with pages whose struct page is not known"] += len(obscure)
    charges = rss.charges(state.mms) if wrong.any() else frozenset()
    findings = []
    for number in np.flatnonzero(wrong).tolist():
        busy = state.in_flight.get(number)
        mm = state.mms[number]
        if mm.rss is None:
            continue
        excuse = None
        if busy is not None and busy.may_owe(int(missing[number]) << state.fmt.page_shift):
            excuse = str(busy)
        elif not mm.tasks or any(task.runs for task in mm.tasks):
            continue
        elif (charge := _anonymous_alone(excess[number])) in charges:
            excuse = f"the {charge} pages of arguments of an execve() under way are charged to it"
        fewer = (mapped[number] <= recorded[number, :3]).all()
        if number in obscure or (number in state.walked.blind and fewer):
            continue
        numbers = "; ".join(
            f"{name} {was} recorded, {are} mapped"
            for name, was, are in zip(
                RSS_COUNTERS, recorded[number], (*mapped[number], swaps[number]), strict=True
            )
            if was != are
        )
        findings.append(
            Finding(
                cls=FindingClass.RSS_MISMATCH if excuse is None else FindingClass.IN_FLIGHT,
                pfn=None,
                ptes=int(mapped[number].sum()),
                mapcount=None,
                refcount=None,
                mappings=(owners.owner_of_mm(number),),
                note=numbers if excuse is None else f"{numbers}; {excuse}",
            )
        )
    return findings


def _anonymous_alone(excess: Counts) -> int:
    """Return the one of RSS_COUNTERS that is not 0, if that is anonymous pages'; else 0."""
    anonymous = int(excess[RSS_COUNTERS.index("MM_ANONPAGES")])
    return anonymous if np.count_nonzero(excess) == 1 else 0


def _with_unknown_pages(state: KernelState) -> set[int]:
    """Return the mms that map pages whose rss counter is not known."""
    known = state.recorded.known
    if known.all():
        return set()
    obscure = state.counted & ~known[state.first]
    return set(state.walked.mm[obscure].tolist())


def mapped_rss(state: KernelState, without: Index | None = None) -> Counts:
    """Return each mm's mapped file, anonymous and shmem pages, as mm_counter() sorts them.

    A page on the move counts where it comes from.  Hugetlb pages are counted elsewhere.
    Shape (mms, 3).

    Args:
        without: pages that are not to be counted.
    """
    absent, recorded = state.absent, state.recorded
    moving = np.flatnonzero(np.isin(absent.kind, IN_RSS))
    large = np.array(state.fmt.leaf_pages, np.int64)
    # 0 file, 1 anonymous, 2 shmem, 3 none of these counters: one look-up a leaf, and
    # NOWHERE finds the last one.
    kinds = np.zeros(len(state.pages) + 1, np.uint8)
    kinds[:-1] = recorded.swapbacked * np.uint8(2)
    kinds[:-1][recorded.anon] = 1
    kinds[:-1][recorded.hugetlb] = 3
    kinds[NOWHERE] = 3
    if without is not None:
        kinds[without] = 3
    kind = kinds[state.first]
    kind[np.flatnonzero(~state.normal)] = 3
    runs = state.walked.runs
    counts = _tally(kind, runs, large[runs.level], len(state.mms))
    moved = kinds[state.pages.indices(absent.pfn[moving])]
    alone = Runs(absent.mm[moving], absent.level[moving], np.ones(len(moving), np.int64))
    counts += _tally(moved, alone, large[alone.level], len(state.mms))
    return counts


def _tally(kind: npt.NDArray[np.uint8], runs: Runs, sizes: Counts, mms: int) -> Counts:
    """Pages by mm and kind; shape (mms, 3).

    Args:
        kind: of each leaf; any other than the three is not counted.
        sizes: how many pages each leaf of a run maps; shape of `runs`.
    """
    pages = np.zeros((mms, 3), np.int64)
    some = np.flatnonzero(runs.leaves)
    if len(some):
        starts = (np.cumsum(runs.leaves) - runs.leaves)[some]
        for number in range(3):
            leaves = np.add.reduceat(kind == number, starts, dtype=np.int64)
            np.add.at(pages[:, number], runs.mm[some], leaves * sizes[some])
    return pages
