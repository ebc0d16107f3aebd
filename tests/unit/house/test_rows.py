"""The tables: whole rows only, and each kind, finding and name has its row."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from importlib import import_module, resources
from typing import Any

import pytest

from zaptrace.arch import ARCHES, Arch
from zaptrace.audit.pagetables.arches import FORMATS
from zaptrace.explain.verdict_table import CLEAN, RULES, UNEXPLAINED, Rule
from zaptrace.kernel.machinecode import decoder_of
from zaptrace.kernel.targets import ENTRIES, MEMBERS
from zaptrace.model.events import KINDS, EventKind, Kind
from zaptrace.model.verdict import VerdictKind
from zaptrace.splat import kinds as reports

TABLES: dict[str, tuple[type, Sequence[Any]]] = {
    "events": (EventKind, tuple(KINDS.values())),
    "verdicts": (Rule, (*RULES, UNEXPLAINED, CLEAN)),
    "console reports": (reports.Kind, reports.KINDS),
    "architectures": (Arch, tuple(ARCHES.values())),
}

WHOLE = [
    (name, field.name) for name, (row, _) in TABLES.items() for field in dataclasses.fields(row)
]


@pytest.mark.parametrize(("table", "field"), WHOLE, ids=lambda one: str(one).replace(" ", "_"))
def test_a_row_that_lacks_a_field_cannot_be_made(table: str, field: str) -> None:
    row, rows = TABLES[table]
    values = {one.name: getattr(rows[0], one.name) for one in dataclasses.fields(row)}
    assert row(**values) == rows[0]
    del values[field]
    with pytest.raises(TypeError, match=field):
        row(**values)


@pytest.mark.parametrize("table", TABLES)
def test_no_row_stands_twice(table: str) -> None:
    _, rows = TABLES[table]
    assert len({id(row) for row in rows}) == len(rows) > 1


def test_every_kind_of_event_has_its_row_and_every_probed_one_is_a_kind() -> None:
    assert set(KINDS) == set(Kind)
    assert {target.event.upper() for target in ENTRIES} <= set(Kind.__members__)


def test_every_kind_of_verdict_has_its_row_with_words_for_every_view() -> None:
    rows = (*RULES, UNEXPLAINED, CLEAN)
    assert {row.kind for row in rows} == set(VerdictKind)
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.subject and row.headline for row in rows)
    assert all(row.applies is not None for row in RULES)


def test_a_member_has_one_row_with_its_names_newest_first() -> None:
    oldest = [(struct, names[-1]) for struct, names in MEMBERS]
    assert len(set(oldest)) == len(oldest)
    assert all(names and len(set(names)) == len(names) for _, names in MEMBERS)
    assert ("page", ("compound_info", "compound_head")) in MEMBERS


@pytest.mark.parametrize("name", ARCHES)
def test_an_architecture_has_what_no_row_can_hold(name: str) -> None:
    """Its row's file, a decoder, kernel options, and what the audit reads through drgn."""
    arch = ARCHES[name]
    assert arch.name == name
    assert import_module(f"zaptrace.arch.{name}")
    assert decoder_of(arch) is not None
    assert name in FORMATS
    assert (resources.files("vm") / "kconfig" / f"{name}.config").is_file()
