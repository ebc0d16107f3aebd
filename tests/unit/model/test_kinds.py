"""Every kind of event has its row, and the rows say what the sources and the views need."""

from __future__ import annotations

import numpy as np
import pytest

from zaptrace.model.events import (
    ABSENT_VALUE,
    EVENT,
    FREQUENT,
    KINDS,
    TROUBLE,
    WITH_STACK,
    Kind,
    about_page,
    blank,
)


def test_each_kind_has_a_row() -> None:
    assert set(KINDS) == set(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_a_row_says_all(kind: Kind) -> None:
    row = KINDS[kind]
    assert row.help
    assert len(row.mark) == 1
    assert row.style in ("zap", "rmap", "warn", "bad", "dim")
    assert row.about_page or not row.spans_pages


def test_marks_tell_kinds_apart_without_colour() -> None:
    assert len({row.mark for row in KINDS.values()}) == len(KINDS)


def test_every_report_of_trouble_records_its_stack_and_none_is_thinned_out() -> None:
    names = {kind.name.lower() for kind in TROUBLE}
    assert names == {"page_free", "bad_page", "bad_pte"}
    assert names | {"bad_table"} == WITH_STACK  # which is about no page
    assert not names & FREQUENT


def test_a_blank_record_lacks_every_field_that_can_be_absent() -> None:
    record = blank(1)[0]
    fields = set(EVENT.names or ()) - {"cpu", "kind", "origin", "reserved", "comm"}
    assert fields == set(ABSENT_VALUE) - {"cpu"}
    assert {name: int(record[name]) for name in fields} == {
        name: value for name, value in ABSENT_VALUE.items() if name != "cpu"
    }


def test_only_kinds_that_span_pages_are_about_several() -> None:
    records = blank(len(Kind))
    records["kind"] = list(Kind)
    records["pfn"] = 10
    records["nr"] = 4  # a hostile capture says so of any kind
    spanning = [row.spans_pages for row in map(KINDS.get, Kind) if row]
    assert about_page(records, 10).all()
    assert about_page(records, 13).tolist() == spanning
    assert not about_page(records, 14).any()
    assert not about_page(records, 9).any()
    records["pfn"] = ABSENT_VALUE["pfn"]
    assert not about_page(records, ABSENT_VALUE["pfn"] - 1).any()
    assert not about_page(records, 0).any()
    assert np.array_equal(about_page(records[:0], 1), np.zeros(0, bool))
