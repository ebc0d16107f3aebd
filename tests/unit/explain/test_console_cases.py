"""The three consoles of tests/golden/explain: every clause of `right` in expected.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zaptrace.cli.main import main

CASES = Path(__file__).parents[2] / "golden" / "explain"


def explained(case: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any], str]:
    """Exit status, JSON document, text report."""
    (log,) = CASES.glob(f"{case}-*/console.log")
    code = main(["explain", str(log)])
    text = " ".join(capsys.readouterr().out.split())
    assert main(["explain", str(log), "--json"]) == code
    return code, json.loads(capsys.readouterr().out), text


def test_an_rmap_warning_is_not_clean(capsys: pytest.CaptureFixture[str]) -> None:
    code, document, text = explained("40", capsys)
    verdict = document["verdict"]
    assert code == 1
    assert verdict["kind"] != "clean"
    assert "Not a matter of pages" not in text
    assert "folio_add_file_rmap_ptes" in text


def test_an_rmap_warning_names_its_page(capsys: pytest.CaptureFixture[str]) -> None:
    _, document, _ = explained("40", capsys)
    verdict = document["verdict"]
    assert verdict["pfn"] == 0x411AC0
    assert "mapcount 0, refcount 33" in verdict["summary"]


def test_who_allocates_has_not_freed(capsys: pytest.CaptureFixture[str]) -> None:
    code, document, text = explained("41", capsys)
    verdict = document["verdict"]
    assert code == 1
    assert verdict["kind"] == "unexplained"
    assert "booter/8 was allocating" in verdict["summary"]
    for step in ("check_new_page_bad", "rmqueue", "get_page_from_freelist"):
        assert step in verdict["summary"]
    assert "free lists" in verdict["summary"]
    assert "mapcount 1" in verdict["summary"]
    assert "did not free it: who did, and who still uses or maps it" in verdict["summary"]
    assert "booter/8 freed" not in text
    assert not any(site["role"] == "freed" for site in verdict["sites"])
    assert "Freed:" not in text


def test_every_reading_of_a_mapcount_below_zero_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, document, _ = explained("44", capsys)
    verdict = document["verdict"]
    assert code == 1
    assert verdict["kind"] == "unexplained"
    summary = verdict["summary"]
    special = summary.index("mapped without an rmap being added")
    garbage = summary.index("the PTE itself is garbage")
    twice = summary.index("removed twice in one zap")
    again = summary.index("left the PTE, which was found again")
    assert special < min(garbage, twice, again)
    for sign in ("VM_PFNMAP", "the page is reserved", "fault: is a special mapping's"):
        assert sign in summary
