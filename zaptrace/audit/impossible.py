"""Page-table entries and struct pages that no kernel makes, whatever a CPU is doing.

- Two PTEs map one anonymous page, and one of them may write: copy_present_ptes() takes the right to
  write from both, and do_wp_page() gives it back to a page that is mapped once.  What one process
  writes the other reads.
- A migration entry names a page that is not locked: whoever migrates a folio, or splits it, holds
  its lock until the PTEs are back (pfn_swap_entry_to_page() asserts that).
- A tail page's compound_head leads to a page that heads no folio: prep_compound_page() sets
  PG_head before the first tail, and __split_folio_to_order() clears it after the last one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from zaptrace.audit import findings, invariants
from zaptrace.audit.arrays import NOWHERE, Index, Words
from zaptrace.audit.pagetables.nonpresent import SwapKind
from zaptrace.audit.rmap import Owners, Place, entry_at
from zaptrace.audit.state import KernelState
from zaptrace.audit.structpages.page_flags import has_bit
from zaptrace.model.findings import Finding, FindingClass

MOST_FOUND = 1000
"""Pages of a kind that are described; the rest is counted in `unseen`."""
BEYOND = f"pages that no kernel makes, beyond the first {MOST_FOUND:,} of a kind"


def impossible_entries(
    state: KernelState, owners: Owners, known: frozenset[int]
) -> Iterator[Finding]:
    """Yield a finding for each page that an impossible entry names, or whose struct page is one.

    Args:
        known: struct pages with a finding already.
    """
    for found in (
        _writable_and_shared(state, owners, known),
        _stale_migrations(state, owners, known),
        _tails_without_head(state, owners, known),
    ):
        yield from found


def _writable_and_shared(
    state: KernelState, owners: Owners, known: frozenset[int]
) -> Iterator[Finding]:
    """PTEs that may write to an anonymous page which others map as well."""
    recorded, walked = state.recorded, state.walked
    shared = (state.ptes > 1) & recorded.anon & ~recorded.hugetlb & recorded.known
    if not shared.any():
        return
    mine = shared.take(state.first[walked.large :], mode="clip") & state.counted[walked.large :]
    small = np.flatnonzero(mine) + walked.large
    if not len(small):
        return
    may_write = (walked.entry[small] & np.uint64(state.fmt.tables.writable)) != 0
    leaves = _at_rest(state, small[may_write], walked.mm)
    yield from _of_entries(
        state,
        owners,
        FindingClass.WRITABLE_BUT_SHARED,
        (state.first[leaves], walked.mm[leaves], walked.address[leaves]),
        known,
        lambda index, address: (
            f"its PTE at {address:#x} may write, and {_others(int(state.ptes[index]) - 1)} as well"
        ),
    )


def _others(count: int) -> str:
    return "another PTE maps it" if count == 1 else f"{count} other PTEs map it"


def _stale_migrations(
    state: KernelState, owners: Owners, known: frozenset[int]
) -> Iterator[Finding]:
    """Migration entries of pages that nobody migrates."""
    try:
        locked = int(state.prog.constant("PG_locked").value_())
    except LookupError:
        return
    absent, nonpresent = state.absent, state.walked.nonpresent
    entries = np.flatnonzero(absent.kind == SwapKind.MIGRATION)
    pages = state.pages.indices(absent.pfn[entries])
    there = pages != NOWHERE
    entries, pages = entries[there], pages[there]
    head = state.recorded.head[pages]
    open_ = ~has_bit(state.pages.column("flags", head), locked) & state.recorded.known[pages]
    at = _at_rest(state, entries[open_], nonpresent.mm)
    yield from _of_entries(
        state,
        owners,
        FindingClass.STALE_MIGRATION_ENTRY,
        (state.pages.indices(absent.pfn[at]), nonpresent.mm[at], nonpresent.address[at]),
        known,
        lambda _, address: f"the migration entry at {address:#x} names it, and it is not locked",
    )


def _tails_without_head(
    state: KernelState, owners: Owners, known: frozenset[int]
) -> Iterator[Finding]:
    """Tail pages of no folio."""
    recorded, pages = state.recorded, state.pages
    if not state.flags.head_mask:
        return
    link = pages.column("compound_head")
    tails = np.flatnonzero(recorded.known & ((link & np.uint64(1)) != 0))
    alone = tails[recorded.head[tails] == tails]
    to = pages.indices_at(link[alone] - np.uint64(1))
    state.gaps[BEYOND] += max(len(alone) - MOST_FOUND, 0)
    for index, head in zip(alone[:MOST_FOUND].tolist(), to.tolist(), strict=False):
        if index not in known:
            where = "no struct page"
            if head != NOWHERE:
                where = f"pfn {int(pages.pfns(np.array([head]))[0]):#x}, which heads no folio"
            note = f"its compound_head is {int(link[index]):#x}: {where}"
            yield _finding(state, owners, FindingClass.TAIL_WITHOUT_HEAD, index, note)


def _at_rest(state: KernelState, which: Index, mm: npt.NDArray[np.int32]) -> Index:
    """Return those of mms that no CPU is changing."""
    busy = np.array(sorted(state.in_flight), np.int64)
    rest: Index = which[~np.isin(mm[which], busy)]
    return rest


def _of_entries(
    state: KernelState,
    owners: Owners,
    cls: FindingClass,
    entries: tuple[Index, npt.NDArray[np.int32], Words],
    known: frozenset[int],
    say: Callable[[int, int], str],
) -> Iterator[Finding]:
    """Yield one finding for each page that some entries name.

    Args:
        entries: index of the page, index of the mm, user address; of each.
        say: page's index and address -> what is wrong.
    """
    seen = set(known)
    state.gaps[BEYOND] += max(len(set(entries[0].tolist()) - known) - MOST_FOUND, 0)
    for index, mm, address in zip(*(one.tolist() for one in entries), strict=True):
        if index in seen or len(seen) - len(known) == MOST_FOUND:
            continue
        seen.add(index)
        place = Place(mm, address)
        owner = dataclasses.replace(owners.owner(place), entry_at=entry_at(state, place))
        finding = _finding(state, owners, cls, index, say(index, address))
        here = (owner.mm, owner.address)
        others = [one for one in finding.mappings if (one.mm, one.address) != here]
        yield dataclasses.replace(finding, mappings=(owner, *others))


def _finding(
    state: KernelState, owners: Owners, cls: FindingClass, index: int, note: str
) -> Finding:
    suspect = invariants.Suspect(index, cls, int(state.ptes[index]))
    return dataclasses.replace(findings.page_finding(state, owners, suspect), note=note)
