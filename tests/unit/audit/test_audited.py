"""What is not provable is withheld: where the audit could not look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from types import SimpleNamespace

import numpy as np
import pytest

from tests.unit.audit.partial import partial
from zaptrace.audit import rmap
from zaptrace.audit.audited import HIDDEN, MAX_FOLLOWED, provable
from zaptrace.audit.invariants import Recorded, Suspect
from zaptrace.audit.rmap import Owners
from zaptrace.audit.state import KernelState
from zaptrace.model.findings import FindingClass

LEAKED = FindingClass.MORE_MAPCOUNT_THAN_PTES
FREE = FindingClass.MAPPED_BUT_FREE
SUSPECTS = [Suspect(1, FREE, 1), Suspect(2, LEAKED, 0), Suspect(3, LEAKED, 0)]


def state(blind: frozenset[int], *, whole: bool = True) -> KernelState:
    return partial(
        KernelState,
        blind=blind,
        whole=whole,
        gaps=Counter(),
        recorded=partial(Recorded, head=np.arange(MAX_FOLLOWED + 10)),
    )


class Rmaps(Owners):
    """Page -> the one mm that its rmap leads to; without one it cannot be followed."""

    def __init__(self, mms: dict[int, int]) -> None:
        self._leads_to = mms

    def may_be_in(self, mms: Container[int], index: int, head: int) -> bool:
        return index not in self._leads_to or self._leads_to[index] in mms


@pytest.mark.parametrize(
    ("blind", "whole", "mms", "sure"),
    [
        ((), True, {}, [1, 2, 3]),
        ((7,), True, {2: 7, 3: 8}, [1, 3]),
        ((7,), True, {2: 9, 3: 8}, [1, 2, 3]),
        ((7,), True, {2: 8}, [1, 2]),
        ((), False, {2: 8, 3: 8}, [1]),
    ],
)
def test_a_page_with_too_few_ptes_is_no_finding_if_it_may_be_mapped_where_the_audit_did_not_look(
    blind: tuple[int, ...], whole: bool, mms: dict[int, int], sure: list[int]
) -> None:
    known = state(frozenset(blind), whole=whole)
    found = provable(known, Rmaps(mms), SUSPECTS)
    assert [suspect.index for suspect in found] == sure
    assert known.gaps[HIDDEN] == 3 - len(sure)


def test_not_every_rmap_of_a_ruined_dump_is_followed() -> None:
    known = state(frozenset([7]))
    many = [Suspect(index, LEAKED, 0) for index in range(MAX_FOLLOWED + 5)]
    found = provable(known, Rmaps(dict.fromkeys(range(len(many)), 8)), many)
    assert len(found) == MAX_FOLLOWED
    assert known.gaps[HIDDEN] == 5


class Freed(Owners):
    """Of an mm that may have a gather under way."""

    def __init__(self) -> None:
        self._state = partial(KernelState, mms=[None])
        self.__dict__["_unsettled"] = [0]

    def areas(self) -> list[str]:
        return [str(area.name) for area in self._vmas(0)]


def test_a_page_without_mapping_may_have_been_where_anonymous_pages_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A page of a deleted file was said to have been mapped by /init's text, vvar and vdso."""
    areas = [SimpleNamespace(name="text", anon_vma=None), SimpleNamespace(name="heap", anon_vma=1)]
    monkeypatch.setattr(rmap, "vmas", lambda _mm: areas)
    assert Freed().areas() == ["heap"]
