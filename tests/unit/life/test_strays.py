"""Stray stores: named by the code that made them; ordinary stores are not reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.life.builders import FLAGS, MAPPING, PFN
from tests.unit.life.lives import Page, know, resolve
from zaptrace.life.left_over import What
from zaptrace.life.named_life import STRAY, named_life
from zaptrace.life.page_life import Role
from zaptrace.life.record_layout import ALIAS, VALID, VALUE

SCHEMAS = Path(__file__).parents[2] / "schemas"

know(
    {
        0x60: "atomic_set at include/linux/atomic.h:1|sys_uname at kernel/sys.c:400",
        0x61: "atomic_set at include/linux/atomic.h:1|find_vma at mm/mmap.c:410",
        0x62: "atomic_inc at include/linux/atomic.h:1|split_huge_pmd at mm/huge_memory.c:420",
        0x63: "memset at arch/s390/lib/mem.S:9",
        0x64: "atomic_set at include/linux/atomic.h:1|drv_oops at drivers/drv.c:430",
        0x65: "sys_uname at kernel/sys.c:440",
    }
)


def roles(page: Page) -> list[str]:
    return [one.role for one in named_life(page.life(), PFN, resolve).writes]


@pytest.mark.parametrize(
    ("by", "pc", "stray"),
    [(7, 0x60, True), (7, 0x61, True), (1, 0x62, False), (1, 0x64, True), (1, 2, False)],
)
def test_a_change_of_the_mapcount_is_the_rmaps_or_stray(by: int, pc: int, stray: bool) -> None:
    page = Page()
    page.fault()
    page.maps(by, pc, 0x23)
    assert roles(page)[-1] == (STRAY if stray else "mapped")
    left = [one.what for one in page.ledger(ptes=1).left_over]
    assert (What.STRAY in left) == stray


def test_a_reference_that_no_counting_function_took_is_stray() -> None:
    page = Page()
    page.fault()
    page.refs(3, 0x64, 0x23)
    assert roles(page)[-1] == STRAY
    assert "stored over" in (page.ledger(ptes=1).unpaired or "")


def test_flags_by_a_file_that_has_no_pages_are_stray() -> None:
    page = Page()
    page.fault()
    page.store(FLAGS, 4, 8, pc=0x65, stack=page.stack(0x20, 0x23))
    assert roles(page)[-1] == STRAY
    page.store(FLAGS, 6, 8, pc=8, stack=page.stack(0x20, 0x23))
    assert roles(page)[-1] == ""


def test_what_memset_stores_is_its_callers() -> None:
    page = Page()
    page.fault()
    page.store(MAPPING, 0x1111, 8, pc=0x63, stack=page.stack(0x20, 0x60))
    assert roles(page)[-1] == STRAY
    page.store(MAPPING, 0x2222, 8, pc=0x63, stack=page.stack(0x20, 0x21))
    assert roles(page)[-1] == ""


def test_what_comes_through_the_direct_map_is_stray() -> None:
    page = Page()
    page.fault()
    page.store(MAPPING, 0x1111, 8, pc=1, flags=VALID | VALUE | ALIAS)
    assert roles(page)[-1] == STRAY


def test_the_schema_names_every_role() -> None:
    schema = json.loads((SCHEMAS / "life.schema.json").read_text("utf-8"))
    named = schema["properties"]["writes"]["items"]["properties"]["role"]["enum"]
    roles = {str(role) or None for role in Role} | {STRAY, "reset", "frozen", "thawed"}
    assert set(named) == roles
