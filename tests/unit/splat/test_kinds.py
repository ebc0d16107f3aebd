"""The table of kinds: whole rows, the schema's kinds, and what is about pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zaptrace.model.splats import Splat
from zaptrace.splat.kinds import KINDS, TITLES, Kind, about_pages, any_about_pages

SCHEMA = Path(__file__).parents[2] / "schemas" / "splat.schema.json"


def test_the_kinds_are_the_schema_s() -> None:
    schema = json.loads(SCHEMA.read_text())
    assert set(TITLES) == set(schema["items"]["properties"]["kind"]["enum"])


def test_a_row_that_lacks_a_field_cannot_be_made() -> None:
    with pytest.raises(TypeError):
        Kind(name="bad_page_state", title="Bad page state")  # type: ignore[call-arg]


def test_rows_of_one_kind_agree() -> None:
    facts = {(kind.name, kind.title, kind.about_pages) for kind in KINDS}
    assert len(facts) == len(TITLES)


def test_every_kind_but_the_others_is_about_pages() -> None:
    assert {kind.name for kind in KINDS if not kind.about_pages} == {"other"}
    assert about_pages(Splat("bad_swap_entry"))
    assert any_about_pages([Splat("other"), Splat("vm_warn_on")])
    assert not any_about_pages([Splat("other")])


@pytest.mark.parametrize("kind", [one for one in KINDS if one.name != "vm_bug_on"])
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_headline_lacks_its_marks(kind: Kind, data: st.DataObject) -> None:
    found = data.draw(st.from_regex(kind.headline))
    assert any(mark in found for mark in kind.marks)
