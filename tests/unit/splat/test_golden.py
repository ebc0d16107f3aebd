"""Logs written by hand from the kernel's format strings, and what a person reads in them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.documents import validate
from zaptrace.model.splats import Splat
from zaptrace.splat import parse, parse_console, parser

TESTS = Path(__file__).parents[2]
LOGS = sorted((TESTS / "golden" / "splat").glob("*.log"))


def said(splat: Splat) -> dict[str, Any]:
    """The keys that say something, as the golden files hold them."""
    return {key: value for key, value in splat.to_json().items() if value not in (None, [])}


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.stem)
def test_reads_what_a_person_reads(log: Path) -> None:
    expected = json.loads(log.with_suffix(".json").read_text())
    assert [said(splat) for splat in parse(log.read_bytes())] == expected


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.stem)
def test_json_is_the_schema_s(log: Path) -> None:
    validate([splat.to_json() for splat in parse(log.read_bytes())], "splat")


NUMBERS = ("pfn", "pte", "pmd", "addr", "refcount", "mapcount", "index", "cpu", "pid", "rss_value")


def numbers(splats: Iterable[Splat]) -> set[tuple[str, int]]:
    """Each number that they say, and of what."""
    said = ((key, getattr(splat, key)) for splat in splats for key in NUMBERS)
    return {(key, value) for key, value in said if value}


@pytest.mark.parametrize("log", LOGS, ids=lambda path: path.stem)
def test_a_log_that_is_cut_says_no_number_that_the_whole_does_not(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that is ended, or read while it speaks, leaves "pfn:00de" of "pfn:00de3"."""
    # Wherever a word is cut, what is left of the console is the same: it is parsed once.
    monkeypatch.setattr(parser, "parse", functools.cache(parser.parse))
    data = log.read_bytes()
    whole = numbers(parse(data))
    begun = data.find(b"BUG: Bad")
    for end in range(begun, min(len(data), begun + 1500)):
        assert numbers(parse_console(data[:end])) <= whole, data[:end][-60:]
