"""The array of struct pages (vmemmap, or mem_map with FLATMEM): addresses to page frame numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from zaptrace.model.events import ABSENT

U64 = npt.NDArray[np.uint64]


def pfns_of(addresses: U64, base: int, struct_size: int, valid: Iterable[range]) -> U64:
    """Return the PFN of each struct page address, ABSENT for what is not a valid one.

    Args:
        addresses: of struct pages; a folio's address is its head page's.
        base: address of PFN 0's struct page.
        struct_size: bytes of a struct page.
        valid: PFNs that have a struct page.

    Returns:
        An array of the same shape, for one integer division in all.
    """
    offsets = addresses - np.uint64(base)  # below base: wraps to a huge PFN
    pfns = offsets // np.uint64(struct_size)
    good = np.zeros(addresses.shape, bool)
    for span in valid:
        good |= (pfns >= span.start) & (pfns < span.stop)
    good &= offsets % np.uint64(struct_size) == 0
    return np.where(good, pfns, np.uint64(ABSENT))
