"""Of a kernel that runs: what changes meanwhile is withheld, what stays is found."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import drgn
import pytest

import zaptrace.audit.inspect
import zaptrace.memory.open
from tests.unit.audit.inspect_words import FREED
from tests.unit.audit.partial import partial
from tests.unit.audit.struct_pages import Memory, struct_pages
from tests.unit.audit.struct_pages import judged as counters_of
from zaptrace.audit import running
from zaptrace.audit.audited import Audited
from zaptrace.audit.invariants import Suspect
from zaptrace.audit.rmap import Owners
from zaptrace.audit.running import CHANGED, LOOKS, MAX_FAILURES, PAUSES
from zaptrace.audit.state import KernelState
from zaptrace.cli import inspect
from zaptrace.model.errors import BadInput, Exit
from zaptrace.model.findings import Finding, FindingClass

LEAKED = FindingClass.MORE_MAPCOUNT_THAN_PTES
SUSPECTS = [
    Suspect(1, FindingClass.MAPPED_BUT_FREE, 1),
    Suspect(2, LEAKED, 0),
    Suspect(3, LEAKED, 0),
]
Pages = tuple[int, ...]


@pytest.fixture
def memory() -> Memory:
    return struct_pages(8)


@pytest.fixture
def state(memory: Memory) -> KernelState:
    return partial(
        KernelState, pages=memory.gathered(), recorded=counters_of(memory), gaps=Counter()
    )


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited; not really."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


def steady(state: KernelState) -> Pages:
    return tuple(suspect.index for suspect in running.steady(state, SUSPECTS))


@pytest.mark.parametrize(
    ("column", "at", "left"),
    [
        ("raw_mapcount", 2, (1, 3)),
        ("refcount", 3, (1, 2)),
        ("mapping", 1, (2, 3)),
        ("index", 1, (1, 2, 3)),
    ],
)
@pytest.mark.usefixtures("pauses")
def test_who_has_changed_since_it_was_read_is_no_suspect(
    memory: Memory, state: KernelState, column: str, at: int, left: Pages
) -> None:
    memory.raw[column][at] += 1
    assert steady(state) == left


@pytest.mark.usefixtures("pauses")
def test_what_a_tail_of_a_folio_counts_is_in_its_first_page(
    memory: Memory, state: KernelState
) -> None:
    state.recorded.head[3] = 2
    memory.raw["refcount"][2] += 1
    assert steady(state) == (1,)


def test_who_changes_and_changes_back_is_no_suspect_either(
    memory: Memory, state: KernelState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a page that fork() and exit() map and unmap all the time both readings may be the same:
    three looks in a row called it leaked, once in some hundred audits."""

    def sleep(seconds: float) -> None:
        memory.raw["raw_mapcount"][2] = 1 if seconds == PAUSES[9] else -1

    monkeypatch.setattr("time.sleep", sleep)
    assert steady(state) == (1, 3)


def test_one_waits_as_long_as_there_are_suspects(
    memory: Memory, state: KernelState, pauses: list[float]
) -> None:
    assert steady(state) == (1, 2, 3)
    assert pauses == list(PAUSES)
    pauses.clear()
    memory.raw["refcount"][1:4] += 1
    assert steady(state) == ()
    assert pauses == [PAUSES[0]]
    assert state.gaps[CHANGED] == 3
    assert running.steady(state, []) == []


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each look at a kernel finds, or raises; the test fills it."""
    found: list[Any] = []

    def look(*_: object) -> Look:
        now = found.pop(0)
        if isinstance(now, BadInput):
            raise now
        return Look(now)

    monkeypatch.setattr(running, "read_state", lambda *_: None)
    monkeypatch.setattr(running, "_look", look)
    return found


class Answers(Audited):
    """An audit without a kernel: what it is asked about has all of its findings."""

    def inspect(self) -> Any:
        mine = self.findings

        def process(pid: int) -> list[Any]:
            said = {"pid": pid, "found": len(mine)}
            return [SimpleNamespace(findings=mine, to_json=lambda: said)]

        return SimpleNamespace(state=SimpleNamespace(release="7.3", prog=None), process=process)


class Look:
    """A stand-in for one look, with findings for what it sees."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        self._findings = {(one.pfn, one.mapcount): one for one in findings}

    def keys(self) -> set[Any]:
        return set(self._findings)

    def audited(self, agreed: set[Any], looks: dict[str, int], _: float) -> Audited:
        kept = tuple(one for key, one in self._findings.items() if key in agreed)
        return Answers(cast(KernelState, None), cast(Owners, None), kept, looks=looks)


def finding(pfn: int, mapcount: int = 1) -> Finding:
    return Finding(LEAKED, pfn, 0, mapcount, 2)


def found_live() -> Audited:
    return running.audit_running(cast(drgn.Program, None))


def test_only_what_every_look_finds_with_the_same_numbers_is_a_finding(looks: list[Any]) -> None:
    looks += [
        (finding(1), finding(2), finding(3)),
        (finding(1), finding(2, 5)),
        *[(finding(1), finding(2))] * (LOOKS - 2),
    ]
    found = found_live()
    assert found.findings == (finding(1),)
    assert found.looks == {"looks": LOOKS, "cleared_by_another_look": 3}


def test_when_nothing_is_left_the_audit_is_not_repeated(looks: list[Any]) -> None:
    looks += [(finding(1),), (finding(2),), (finding(1),)]
    found = found_live()
    assert found.findings == ()
    assert found.looks == {"looks": 2, "cleared_by_another_look": 2}


def test_a_look_that_fails_is_taken_again_but_not_for_ever(looks: list[Any]) -> None:
    gone = BadInput("freed meanwhile")
    looks += [gone, (finding(1),), gone, ()]
    assert found_live().findings == ()
    looks += [gone] * MAX_FAILURES
    with pytest.raises(BadInput, match="freed meanwhile"):
        found_live()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[argparse.Namespace]:
    monkeypatch.setattr(zaptrace.memory.open, "open_live", lambda _: None)
    parser = argparse.ArgumentParser()
    inspect.configure(parser)
    yield parser.parse_args(["--live", "--vmlinux", "vmlinux", "--pid", "1", "--json"])


@pytest.mark.parametrize(("again", "code"), [(FREED, Exit.BUG_FOUND), (None, Exit.OK)])
def test_one_thing_of_a_running_kernel_is_looked_at_as_often_as_all_of_it(
    asked: argparse.Namespace, looks: list[Any], again: Finding | None, code: Exit
) -> None:
    looks += [(FREED,)] * (LOOKS - 1) + [(again,) if again else ()]
    assert inspect.run(asked) is code
    assert looks == []
