"""A page's life as text, JSON and a data frame."""

from __future__ import annotations

import json

import pytest

from tests.documents import schema, validate
from tests.unit.life.builders import FLAGS, PFN, REFCOUNT
from tests.unit.life.lives import Page, resolve
from zaptrace.life.completeness import Completeness, Word
from zaptrace.life.ledger import Ledger, ledger
from zaptrace.life.left_over import LeftOver, What
from zaptrace.life.named_life import NamedLife, named_life
from zaptrace.life.page_life import Change
from zaptrace.life.records import Life
from zaptrace.model.errors import BadInput
from zaptrace.model.events import Events
from zaptrace.model.verdict import CodeSite
from zaptrace.report.dataframes import Run
from zaptrace.report.life import change_text, life_json, life_text
from zaptrace.report.life_dataframe import life_frame

WRONG = Completeness(8, 1, (Word(PFN, 48, 3, 2**64 - 1),))


def a_life(stop: int | None = 7) -> tuple[Life, NamedLife]:
    page = Page()
    page.fault()
    page.store(FLAGS, 0x24, 8, pc=3, stack=page.stack(0x20, 0x21))
    page.refs(-1, 6, 0x22)
    page.maps(-1, 5, 0x22)
    life = page.life(stop=stop)
    return life, named_life(life, PFN, resolve)


def test_each_store_says_what_it_changed_and_whose_line_it_was() -> None:
    life, named = a_life()
    text = life_text(named, life, Completeness(8, 0), (), ledger(named, life.fields, 0))
    assert "pfn 0x5da: the last 7 of 9 stores to its struct page, since its allocation" in text
    assert "complete: all 8 words" in text
    assert "* freed while its mapcount was not 0: zap_pte_range mm/memory.c:61" in text
    assert "_refcount 1 → 0 " in text and "_mapcount 0 → -1 " in text
    assert "flags = uptodate|lru" in text
    assert "mm/rmap.c:50 page_remove_rmap < zap_pte_range < __do_syscall" in text
    assert text.count("the guest was stopped and dumped here") == 1
    assert text.index("stopped and dumped") < text.index("page_remove_rmap")
    assert max(map(len, text.splitlines())) <= 80


def test_what_is_left_over_is_reported_of_a_page_that_was_never_allocated() -> None:
    life, named = a_life()
    put = LeftOver(What.PUT_WITHOUT_GET, 1, (named.writes[-2],))
    unpaired = "its allocation was not recorded"
    text = life_text(named, life, None, (), Ledger(0, 0, 1, 2, (put,), unpaired))
    assert "* put without a get: zap_pte_range mm/memory.c:61" in text
    assert "no ledger" not in text and "not paired" not in text
    assert f"no ledger: {unpaired}" in life_text(named, life, None, (), Ledger(unpaired=unpaired))


def test_the_counters_alone_leave_the_flags_out() -> None:
    life, named = a_life()
    text = life_text(named, life, None, (), counters=True)
    assert "flags" not in text
    assert text.count("_refcount") == 4 and text.count("_mapcount") == 2


def test_the_newest_store_can_come_first_and_all_callers_be_shown() -> None:
    life, named = a_life()
    text = life_text(named, life, None, ("Something is missing.",), newest_first=True, stacks=True)
    assert text.index("page_remove_rmap") < text.index("post_alloc_hook")
    assert "< zap_pte_range mm/memory.c:105\n" in text and "! Something is missing." in text
    assert "not compared with memory" in text


def test_what_differs_is_named() -> None:
    life, named = a_life()
    text = " ".join(life_text(named, life, WRONG, ()).split())
    assert "not complete: 1 of 8 words" in text and "1 of them this page's" in text
    assert "offset 48: memory has 0xffffffffffffffff, last recorded 0x3" in text


def test_names_of_any_length_fit_the_screen() -> None:
    life, _ = a_life()
    named = named_life(
        life, PFN, lambda address, back: CodeSite("f" * 300, 1, None, (f"{'g' * 200} at x.c:1",))
    )
    for stacks in (False, True):
        text = life_text(named, life, WRONG, ("u" * 500,), stacks=stacks)
        assert max(map(len, text.splitlines())) <= 80


def test_no_life_is_said() -> None:
    life, _ = a_life()
    text = life_text(named_life(life, PFN + 1, resolve), life, None, ())
    assert text.startswith("pfn 0x5db: no store to its struct page was recorded\n")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (Change("_mapcount", -1, 0), "_mapcount -1 → 0"),
        (Change("_mapcount", -1, -129), "page_type 0xffffffff → 0xffffff7f"),
        # Since 6.12 the type is the top byte: PGTY_table.
        (Change("_mapcount", -1, 0xF2000000 - 2**32), "page_type 0xffffffff → 0xf2000000"),
        (Change("_refcount", None, 1), "_refcount ? → 1"),
        (Change("_refcount", 1, 0, stored=False), "_refcount 1 → 0  (changed unseen)"),
        (Change("mapping", 0, 0x1001), "mapping 0 → 0x1001"),
        (Change("flags", 4, 0x20), "flags -uptodate +lru"),
        (Change("flags", 4, 4 | 1 << 60), "flags 0x4 → 0x1000000000000004"),
        (Change("flags", None, 0), "flags = none"),
    ],
)
def test_a_change_is_reported_in_the_kernels_terms(change: Change, text: str) -> None:
    life, _ = a_life()
    assert change_text(change, life.fields) == text


def test_json_is_as_its_schema_says() -> None:
    life, named = a_life()
    account = ledger(named, life.fields, 0)
    document = life_json(named, "RUN", WRONG, ("gap",), account)
    validate(json.loads(json.dumps(document)), "life")
    assert [one["role"] for one in document["writes"] if one["role"]] == [
        *("allocated", "mapped", "got", "put", "freed", "unmapped")
    ]
    assert document["ledger"]["left_over"][0]["what"] == "freed_while_mapped"
    validate(life_json(named, "RUN", None, ()), "life")


def test_a_frame_has_a_row_for_each_change() -> None:
    import pandas as pd

    _, named = a_life()
    frame = Run(Events(), lives=lambda pfn: named).life(PFN)
    assert frame["role"].dropna().tolist() == [
        *("allocated", "mapped", "got", "put", "freed", "unmapped")
    ]
    freed = frame[frame["role"] == "freed"].iloc[0]
    assert (freed["field"], freed["before"], freed["after"]) == ("_refcount", 1, 0)
    assert (freed["function"], freed["source"]) == ("zap_pte_range", "mm/memory.c:61")
    assert frame["after_stop"].tolist()[-2:] == [True, True]
    assert isinstance(frame.index, pd.TimedeltaIndex)
    assert life_frame(named_life(a_life()[0], PFN + 1, resolve)).empty
    with pytest.raises(BadInput, match="no pages' lives"):
        Run(Events(), name="capture.zap").life(PFN)


def test_a_whole_life_begins_with_the_unknown() -> None:
    life, _ = a_life()
    named = named_life(life, PFN, resolve, since_boot=True)
    frame = life_frame(named)
    assert frame["before"].isna().sum() == 2
    assert frame["field"].tolist()[0] == "_mapcount" and REFCOUNT == 52


def test_the_schema_names_everything_that_can_be_left_over() -> None:
    left_over = schema("life")["properties"]["ledger"]["properties"]["left_over"]
    assert set(left_over["items"]["properties"]["what"]["enum"]) == {str(one) for one in What}
