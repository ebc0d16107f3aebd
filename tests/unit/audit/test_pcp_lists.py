"""Per-CPU free lists: whole, or not at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zaptrace.audit.arrays import NOWHERE
from zaptrace.audit.structpages.pcp_lists import members

PAGES, HEAD, ANOTHER_HEAD = 8, 1000, 2000


def index_of(entry: int) -> int:
    return entry if entry < PAGES else NOWHERE


def followed(first: int, nexts: dict[int, int]) -> Sequence[int] | None:
    links = np.zeros(PAGES, np.uint64)
    for index, entry in nexts.items():
        links[index] = entry
    return members(HEAD, first, index_of, links)


def test_a_list_is_followed_to_its_head() -> None:
    assert followed(3, {3: 5, 5: 1, 1: HEAD}) == [3, 5, 1]
    assert followed(HEAD, {}) == []


def test_of_a_list_that_leads_elsewhere_nothing_is_known() -> None:
    """A page was taken from it, and is on a list of pages that are in use."""
    assert followed(3, {3: 5, 5: 6, 6: 7, 7: ANOTHER_HEAD}) is None
    assert followed(3, {3: 5, 5: 6, 6: 5}) is None
    assert followed(ANOTHER_HEAD, {}) is None
