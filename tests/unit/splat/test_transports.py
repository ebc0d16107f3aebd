"""Every kind of report on every way to a file is read whole."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.splat.kinds_of_reports import REPORTS
from tests.unit.splat.transports import TRANSPORTS
from zaptrace.splat import parse
from zaptrace.splat.kinds import KINDS

_EACH = ["bad_page_state, page_owner", "bad_page_map", "vm_bug_on", "two reports of one task"]


def value(data: dict[str, Any], key: str) -> Any:
    """What a report says under a key; frames by their symbols."""
    if key == "trace":
        return [frame["symbol"] for frame in data["trace"]]
    if key == "unreliable":
        return [frame["symbol"] for frame in data["trace"] if not frame["reliable"]]
    part, _, name = key.partition(".")
    if part == "folio":
        return (data["folio"] or {}).get(name)
    if part == "owner":
        owner = data["page_owner"] or {}
        said = owner.get(name)
        return [frame["symbol"] for frame in said["trace"]] if isinstance(said, dict) else said
    return data[key]


def misread(log: bytes, wanted: list[dict[str, Any]]) -> list[object]:
    """What is read otherwise than wanted."""
    found = [splat.to_json() for splat in parse(log)]
    if [one["kind"] for one in found] != [one["kind"] for one in wanted]:
        return [[one["kind"] for one in found]]
    return [
        (key, value(data, key), keys[key])
        for data, keys in zip(found, wanted, strict=True)
        for key in keys
        if value(data, key) != keys[key]
    ]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_report_is_read_whole(transport: str) -> None:
    dress = TRANSPORTS[transport]
    wrong = {name: misread(dress(lines), wanted) for name, (lines, wanted) in REPORTS.items()}
    assert {name: one for name, one in wrong.items() if one} == {}


def test_no_kind_of_the_table_is_left_out() -> None:
    told = {keys["kind"] for _, wanted in REPORTS.values() for keys in wanted}
    assert told == {kind.name for kind in KINDS}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_log_of_all_reports_is_read_like_each(transport: str) -> None:
    lines = [line for report, _ in REPORTS.values() for line in [*report, "usb 1-1: reset"]]
    wanted = [keys for _, wanted in REPORTS.values() for keys in wanted]
    assert misread(TRANSPORTS[transport](lines), wanted) == []
