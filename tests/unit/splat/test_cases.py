"""Small logs of every transport and kind, and what a person reads in them.

`NAME.expected.json` lists the reports with the keys that matter.  `trace` is every frame's symbol
in order, `unreliable` those among them, `last_of_trace` the last; `reason_contains` are parts of
the reason; `exit_status` is the command's.  Two values differ from the list that the cases came
with: 25's pid is the log's own, and 04's VM_BUG_ON_FOLIO() has the same kind as 14's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.documents import validate
from zaptrace.model.splats import Splat
from zaptrace.splat import parse
from zaptrace.splat.kinds import any_about_pages

TESTS = Path(__file__).parents[2]
CASES = sorted((TESTS / "cases" / "console").glob("*.log"))
assert CASES


def value(splat: dict[str, Any], key: str, wanted: Any) -> Any:
    """What a report says under a key of the expectation, in the expectation's form."""
    symbols = [frame["symbol"] for frame in splat["trace"]]
    if key == "trace":
        return symbols
    if key == "unreliable":
        return [frame["symbol"] for frame in splat["trace"] if not frame["reliable"]]
    if key == "last_of_trace":
        return symbols[-1]
    if key == "reason_contains":
        return [part for part in wanted if part in splat["reason"]]
    if key == "folio":
        return {name: splat["folio"][name] for name in wanted}
    return splat[key]


@pytest.mark.parametrize("log", CASES, ids=lambda path: path.stem)
def test_reads_what_a_person_reads(log: Path) -> None:
    wanted = json.loads(log.with_suffix(".expected.json").read_text())
    found = [splat.to_json() for splat in parse(log.read_bytes())]
    assert len(found) == len(wanted)
    for splat, keys in zip(found, wanted, strict=True):
        assert {key: value(splat, key, keys[key]) for key in keys if key != "exit_status"} == {
            key: keys[key] for key in keys if key != "exit_status"
        }


@pytest.mark.parametrize("log", CASES, ids=lambda path: path.stem)
def test_every_report_of_the_cases_but_the_others_is_about_pages(log: Path) -> None:
    wanted = json.loads(log.with_suffix(".expected.json").read_text())
    splats: list[Splat] = parse(log.read_bytes())
    assert any_about_pages(splats) == any(keys.get("kind") != "other" for keys in wanted)


@pytest.mark.parametrize("log", CASES, ids=lambda path: path.stem)
def test_json_is_the_schema_s(log: Path) -> None:
    validate([splat.to_json() for splat in parse(log.read_bytes())], "splat")


@pytest.mark.parametrize("log", CASES, ids=lambda path: path.stem)
def test_where_blocks_end_changes_nothing(log: Path) -> None:
    data = log.read_bytes()
    whole = parse(data)
    for size in (1, 7, 100):
        assert parse(data[at : at + size] for at in range(0, len(data), size)) == whole
    with log.open("rb") as file:
        assert parse(file) == whole
