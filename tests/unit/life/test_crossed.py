"""Stores of two CPUs to one counter that crossed: both records have the value after both."""

from __future__ import annotations

import pytest

from tests.unit.life.builders import MAPCOUNT, PFN, REFCOUNT
from tests.unit.life.lives import Mapped, know, resolve
from zaptrace.life.left_over import What
from zaptrace.life.named_life import NamedWrite, named_life
from zaptrace.life.page_life import Role

ADDS, REMOVES = 2, 5
GETS, PUTS, TRIES = 0x1F1, 0x1F2, 13
know(
    {
        GETS: "page_ref_inc at include/linux/page_ref.h:1|get_page at include/linux/mm.h:2",
        PUTS: "page_ref_dec_and_test at include/linux/page_ref.h:3|"
        "put_page at include/linux/mm.h:4",
    }
)
SLOT = 0x5000
"""Of the other process's PTE."""


class Shared(Mapped):
    """A page that a second process maps, too, with a reference that a driver took."""

    def __init__(self) -> None:
        super().__init__()
        self.maps(1, ADDS, 0x25)
        self.refs(1, GETS, 0x25)
        self.sets(0x33, 0x25, slot=SLOT)
        self.refs(1, GETS, 0x23)

    def crossed(self, offset: int, *by: tuple[int, int]) -> None:
        """Stores (pc, by) of one CPU each, all recorded with the value after the last."""
        if offset == MAPCOUNT:
            value = self.mapcount = self.mapcount + sum(step for _, step in by)
        else:
            value = self.refcount = self.refcount + sum(step for _, step in by)
        for cpu, (pc, _) in enumerate(by):
            self.store(offset, value, pc=pc, stack=self.stack(0x20, 0x23), cpu=cpu)

    def last(self, count: int) -> list[NamedWrite]:
        return list(named_life(self.life(tables=1), PFN, resolve).writes[-count:])


@pytest.mark.parametrize(
    ("offset", "name", "by", "roles"),
    [
        (MAPCOUNT, "_mapcount", [(ADDS, 1), (REMOVES, -1)], [Role.MAPPED, Role.UNMAPPED]),
        (MAPCOUNT, "_mapcount", [(REMOVES, -1), (ADDS, 1)], [Role.UNMAPPED, Role.MAPPED]),
        (MAPCOUNT, "_mapcount", [(ADDS, 1), (ADDS, 1)], [Role.MAPPED, Role.MAPPED]),
        (REFCOUNT, "_refcount", [(PUTS, -1), (TRIES, 1)], [Role.PUT, Role.GOT]),
        (REFCOUNT, "_refcount", [(TRIES, 1), (PUTS, -1)], [Role.GOT, Role.PUT]),
        (
            *(REFCOUNT, "_refcount", [(PUTS, -1), (GETS, 1), (PUTS, -1)]),
            [Role.PUT, Role.GOT, Role.PUT],
        ),
    ],
)
def test_each_gets_its_own(
    offset: int, name: str, by: list[tuple[int, int]], roles: list[Role]
) -> None:
    page = Shared()
    page.crossed(offset, *by)
    found = page.last(len(by))
    changes = [one.write.change(name) for one in found]
    assert [one.after - (one.before or 0) for one in changes if one] == [step for _, step in by]
    assert [one.role for one in found] == roles
    assert not any(name in one.write.unchanged for one in found)


def test_nothing_is_left_over_of_a_zap_that_crossed_a_fault() -> None:
    page = Shared()
    page.refs(1, TRIES, 0x21)
    page.clears(0x31, 0x22)
    page.crossed(MAPCOUNT, (ADDS, 1), (REMOVES, -1))
    page.sets(0x30, 0x21, slot=0x6000)
    page.refs(-1, 6, 0x22)
    assert What.UNSEEN not in page.left()


@pytest.mark.parametrize(
    ("cpus", "by"),
    [((0, 0), (1, -1)), ((0, 1), (1, -2)), ((0, 1), (0, -1))],
)
def test_what_does_not_add_up_stays_as_it_was_recorded(
    cpus: tuple[int, int], by: tuple[int, int]
) -> None:
    """One CPU's stores do not cross, and a counter that changed unseen is not explained away."""
    page = Shared()
    page.mapcount += sum(by)
    for pc, cpu in zip((ADDS, REMOVES), cpus, strict=True):
        page.store(MAPCOUNT, page.mapcount, pc=pc, stack=page.stack(0x20, 0x23), cpu=cpu)
    assert What.UNSEEN in page.left()
