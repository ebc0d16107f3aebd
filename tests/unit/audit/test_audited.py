"""What is not provable is withheld: where the audit could not look."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from zaptrace.audit.audited import HIDDEN, MAX_FOLLOWED, provable
from zaptrace.audit.invariants import Suspect
from zaptrace.audit.rmap import Owners
from zaptrace.model.findings import FindingClass

LEAKED = FindingClass.MORE_MAPCOUNT_THAN_PTES
FREE = FindingClass.MAPPED_BUT_FREE
SUSPECTS = [Suspect(1, FREE, 1), Suspect(2, LEAKED, 0), Suspect(3, LEAKED, 0)]


def state(blind: frozenset[int], *, whole: bool = True) -> Any:
    return SimpleNamespace(
        blind=blind,
        whole=whole,
        gaps=Counter(),
        recorded=SimpleNamespace(head=np.arange(MAX_FOLLOWED + 10)),
    )


def owners(mms: dict[int, int]) -> Owners:
    """Page -> the one mm that its rmap leads to; without one it cannot be followed."""

    def may_be_in(blind: frozenset[int], index: int, head: int) -> bool:
        return index not in mms or mms[index] in blind

    return cast(Owners, SimpleNamespace(may_be_in=may_be_in))


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
    found = provable(known, owners(mms), SUSPECTS)
    assert [suspect.index for suspect in found] == sure
    assert known.gaps[HIDDEN] == 3 - len(sure)


def test_not_every_rmap_of_a_ruined_dump_is_followed() -> None:
    known = state(frozenset([7]))
    many = [Suspect(index, LEAKED, 0) for index in range(MAX_FOLLOWED + 5)]
    found = provable(known, owners(dict.fromkeys(range(len(many)), 8)), many)
    assert len(found) == MAX_FOLLOWED
    assert known.gaps[HIDDEN] == 5
