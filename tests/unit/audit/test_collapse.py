"""Who holds an mmap_lock, and what khugepaged is at, in structs that are made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from zaptrace.audit.collapse import scanned_mm, writer

TASK = 0xFFFF888003AB8000
MM = 0xFFFF888005DDC940
RUNNING, INTERRUPTIBLE, UNINTERRUPTIBLE = 0, 1, 2
READER_BIAS, WRITER_BIAS = 1 << 31, 1 << 30


class Struct(SimpleNamespace):
    """A struct as drgn has it."""

    def member_(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise LookupError(name) from None


class Number:
    """A scalar as drgn has it."""

    def __init__(self, value: int) -> None:
        self._value = value

    def value_(self) -> int:
        return self._value


def mm(lock: Struct, users: int = 2) -> Any:
    return Struct(mmap_lock=lock, mm_users=Struct(counter=Number(users)))


def rwsem(count: int, owner: int) -> Struct:
    return Struct(count=Struct(counter=Number(count)), owner=Struct(counter=Number(owner)))


def rwbase(readers: int, owner: int) -> Struct:
    mutex = Struct(owner=Number(owner))
    return Struct(rwbase=Struct(readers=Struct(counter=Number(readers)), rtmutex=mutex))


@pytest.mark.parametrize(
    ("lock", "who"),
    [
        (rwsem(0, TASK), None),  # free: the last owner stays there
        (rwsem(0x1, TASK), TASK),
        (rwsem(0x3, TASK | 2), TASK),  # with waiters; RWSEM_NONSPINNABLE
        (rwsem(0x300, TASK | 1), None),  # three readers
        (rwsem(0x102, TASK | 1), None),  # a reader and who waits to write
        (rwbase(READER_BIAS, 0), None),
        (rwbase(READER_BIAS + 2, 0), None),
        (rwbase(WRITER_BIAS, TASK | 1), TASK),
    ],
)
def test_who_holds_the_lock_for_writing(lock: Struct, who: int | None) -> None:
    assert writer(mm(lock)) == who


def test_who_ends_an_mm_makes_no_huge_page() -> None:
    assert writer(mm(rwsem(0x1, TASK), users=0)) is None


class Slot(Struct):
    """A pointer, perhaps NULL, to a struct with one member."""

    def __init__(self, there: bool = True, **members: Any) -> None:
        self._there = there
        self.__dict__.update(members)

    def __bool__(self) -> bool:
        return self._there

    def read_(self) -> Slot:
        return self


PLAIN = Slot(mm=Number(MM))
IN_ANOTHER = Slot(slot=Struct(mm=Number(MM)))


@pytest.mark.parametrize("slot", [PLAIN, IN_ANOTHER])
@pytest.mark.parametrize(
    ("state", "at"), [(RUNNING, MM), (UNINTERRUPTIBLE, MM), (INTERRUPTIBLE, None)]
)
def test_khugepaged_is_at_an_mm_unless_it_sleeps(slot: Slot, state: int, at: int | None) -> None:
    task = Slot(state=Number(state))
    assert scanned_mm(cast(Any, Struct(mm_slot=slot)), cast(Any, task)) == at


def test_khugepaged_is_nowhere_between_two_rounds_or_when_it_is_off() -> None:
    awake = Slot(state=Number(RUNNING))
    assert scanned_mm(cast(Any, Struct(mm_slot=Slot(there=False))), cast(Any, awake)) is None
    assert scanned_mm(cast(Any, Struct(mm_slot=PLAIN)), cast(Any, Slot(there=False))) is None
