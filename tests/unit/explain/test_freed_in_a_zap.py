"""A page that was freed inside a zap of its mm, and its life afterwards: was its PTE to go as well?

s390x frees at once: the dump of that moment shows a CPU inside the page tables.  Without events the
range of its zap is not known.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.explain.kernel import VMEMMAP
from tests.unit.explain.life_cases import Kept
from tests.unit.explain.rows import MINE, MM, STOPPED, busy, finding, refused, told
from tests.unit.life.builders import MAPCOUNT, MAPPING, PFN
from tests.unit.life.lives import OTHER, Mapped
from zaptrace.model.findings import FindingClass
from zaptrace.model.verdict import Verdict, VerdictKind

ONE_MAPPED = replace(finding(FindingClass.MAPPED_BUT_FREE, 1, 1, 0, MINE), pfn=PFN)


def part_of_a_folio(*, clears: bool = False, returns: bool = True, ptes: int = 1) -> Kept:
    """A page that is freed with another's last reference; bad_page() resets its mapcount."""
    page = Mapped()
    for slot in range(1, ptes):
        page.sets(0x30, 0x21, slot=OTHER + 8 * slot)
    page.store(MAPPING, 0, 8, pc=4, stack=page.stack(0x20, 0x22))
    stop = len(page.rows)
    page.store(MAPCOUNT, -1, pc=9, stack=page.stack(0x20, 0x22))
    if clears:
        page.clears(0x31, 0x22)
    if returns:
        page.store(MAPPING, 0, 8, pc=7, stack=page.stack(0x20, 0x23))
    return Kept(page, over=False, stop=stop)


def verdict(kept: Kept | None) -> Verdict:
    rows = [{**refused(0), **STOPPED, "pfn": PFN, "page": VMEMMAP + 64 * PFN}]
    return told(rows, "bad_page", audit=busy(ONE_MAPPED, MM), lives=kept)


def test_a_pte_that_the_zap_left_is_a_missing_reference() -> None:
    found = verdict(part_of_a_folio())
    assert found.kind is VerdictKind.REFCOUNT_OVERPUT
    assert "while 1 PTE" in found.summary


@pytest.mark.parametrize(
    "kept",
    [
        None,
        part_of_a_folio(clears=True),
        part_of_a_folio(returns=False),
        part_of_a_folio(ptes=2),
        Kept(part_of_a_folio().page, whole=False, over=False, stop=part_of_a_folio().stop),
    ],
    ids=["no life", "cleared", "still at work", "other PTEs", "not whole"],
)
def test_what_the_zap_may_still_have_cleared_is_left_open(kept: Kept | None) -> None:
    assert verdict(kept).kind is not VerdictKind.REFCOUNT_OVERPUT
