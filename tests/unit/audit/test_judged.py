"""What is not provable is withheld: where the audit could not look, and what changes meanwhile."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import drgn
import numpy as np
import pytest

import zaptrace.audit.look
import zaptrace.memory.opening
from tests.unit.audit.test_counters import judged as counters_of
from tests.unit.audit.test_counters import struct_pages
from tests.unit.audit.test_inspect import FREED
from zaptrace.audit import judged as module
from zaptrace.audit.judged import HIDDEN, LOOKS, MAX_FAILURES, MAX_FOLLOWED, Judged, provable
from zaptrace.audit.ledger import Ledger
from zaptrace.audit.owners import Owners
from zaptrace.audit.reconcile import Suspect
from zaptrace.cli import inspect
from zaptrace.model.errors import BadInput, Exit
from zaptrace.model.findings import Finding, FindingClass

LEAKED = FindingClass.MORE_MAPCOUNT_THAN_PTES
FREE = FindingClass.MAPPED_BUT_FREE
SUSPECTS = [Suspect(1, FREE, 1), Suspect(2, LEAKED, 0), Suspect(3, LEAKED, 0)]


def ledger(blind: frozenset[int], *, whole: bool = True) -> Any:
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
def test_a_page_with_too_few_ptes_is_no_finding_if_it_may_be_mapped_where_nobody_looked(
    blind: tuple[int, ...], whole: bool, mms: dict[int, int], sure: list[int]
) -> None:
    known = ledger(frozenset(blind), whole=whole)
    found = provable(known, owners(mms), SUSPECTS)
    assert [suspect.index for suspect in found] == sure
    assert known.gaps[HIDDEN] == 3 - len(sure)


def test_not_every_rmap_of_a_ruined_dump_is_followed() -> None:
    known = ledger(frozenset([7]))
    many = [Suspect(index, LEAKED, 0) for index in range(MAX_FOLLOWED + 5)]
    found = provable(known, owners(dict.fromkeys(range(len(many)), 8)), many)
    assert len(found) == MAX_FOLLOWED
    assert known.gaps[HIDDEN] == 5


@pytest.mark.parametrize(
    ("column", "at", "left"),
    [
        ("raw_mapcount", 2, [1, 3]),
        ("refcount", 3, [1, 2]),
        ("mapping", 1, [2, 3]),
        ("index", 1, [1, 2, 3]),
    ],
)
def test_who_has_changed_since_it_was_read_is_no_suspect(
    column: str, at: int, left: list[int]
) -> None:
    memory = struct_pages(8)
    before = memory.gathered()
    known = SimpleNamespace(pages=before, recorded=counters_of(memory))
    memory.raw[column][at] += 1
    found = module.unchanged(cast(Ledger, known), SUSPECTS)
    assert [suspect.index for suspect in found] == left
    assert module.unchanged(cast(Ledger, known), []) == []


def test_what_a_tail_of_a_folio_counts_is_in_its_first_page() -> None:
    memory = struct_pages(8)
    known = SimpleNamespace(pages=memory.gathered(), recorded=counters_of(memory))
    known.recorded.head[3] = 2
    memory.raw["refcount"][2] += 1
    found = module.unchanged(cast(Ledger, known), SUSPECTS)
    assert [suspect.index for suspect in found] == [1]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each look at a kernel finds, or raises; the test fills it."""
    found: list[Any] = []

    def look(*_: object) -> Judged:
        now = found.pop(0)
        if isinstance(now, BadInput):
            raise now
        return Judged(cast(Ledger, None), cast(Owners, None), now, rest=(SUSPECTS[0],))

    monkeypatch.setattr(module, "take", lambda *_: None)
    monkeypatch.setattr(module, "_look", look)
    return found


def finding(pfn: int, mapcount: int = 1) -> Finding:
    return Finding(LEAKED, pfn, 0, mapcount, 2)


def test_of_a_running_kernel_only_what_every_look_finds_with_the_same_numbers_is_a_finding(
    looks: list[Any],
) -> None:
    assert LOOKS == 3
    looks += [
        (finding(1), finding(2), finding(3)),
        (finding(1), finding(2, 5)),
        (finding(1), finding(2)),
    ]
    found = module.judged_live(cast(drgn.Program, None))
    assert found.findings == (finding(1),)
    assert found.looks == {"looks": 3, "cleared_by_another_look": 3}
    assert found.rest == ()


def test_a_look_that_fails_is_taken_again_but_not_for_ever(looks: list[Any]) -> None:
    gone = BadInput("freed meanwhile")
    looks += [gone, (), gone, (), ()]
    assert module.judged_live(cast(drgn.Program, None)).findings == ()
    looks += [gone] * MAX_FAILURES
    with pytest.raises(BadInput, match="freed meanwhile"):
        module.judged_live(cast(drgn.Program, None))


class OnePage:
    """A stand-in for `Looking`: what it is asked about has the findings that were judged."""

    def __init__(self, found: Judged) -> None:
        self.ledger = SimpleNamespace(release="7.3", prog=None)
        self._found = found

    def process(self, pid: int) -> list[Any]:
        mine = self._found.findings
        return [SimpleNamespace(findings=mine, to_json=lambda: {"pid": pid, "found": len(mine)})]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[argparse.Namespace]:
    monkeypatch.setattr(zaptrace.audit.look, "Looking", OnePage)
    monkeypatch.setattr(zaptrace.memory.opening, "open_live", lambda _: None)
    parser = argparse.ArgumentParser()
    inspect.configure(parser)
    yield parser.parse_args(["--live", "--vmlinux", "vmlinux", "--pid", "1", "--json"])


@pytest.mark.parametrize(("again", "code"), [(FREED, Exit.BUG_FOUND), (None, Exit.OK)])
def test_one_thing_of_a_running_kernel_is_looked_at_as_often_as_all_of_it(
    asked: argparse.Namespace, looks: list[Any], again: Finding | None, code: Exit
) -> None:
    looks += [(FREED,), (FREED,), (again,) if again else ()]
    assert inspect.run(asked) is code
    assert looks == []
