"""How sure a bisect is, and how it reports its result."""

from __future__ import annotations

import pytest

from zaptrace.runs.bisect.conclude import confidence, summary
from zaptrace.runs.bisect.trial import Mark, Outcome

GOOD = Outcome(Mark.GOOD, "3 clean boots", 3)
BAD = Outcome(Mark.BAD, "boot 1", 1, 1, "rmap_underflow")


def test_the_good_end_is_taken_at_the_users_word() -> None:
    outcomes = {"end": GOOD, "a": GOOD, "b": BAD, "c": Outcome(Mark.SKIP, "")}
    sure = confidence(outcomes, 3, "end")
    assert (sure.goods, sure.hits, sure.boots) == (1, 1, 1)
    assert sure.value == pytest.approx(1 - sure.unseen)


def test_more_hits_and_more_clean_boots_make_it_surer() -> None:
    few = confidence({"a": GOOD, "b": BAD}, 3, "")
    more_hits = confidence({"a": GOOD, "b": BAD, "c": BAD, "d": BAD}, 3, "")
    more_boots = confidence({"a": GOOD, "b": BAD}, 30, "")
    assert few.value < more_hits.value < 1
    assert few.value < more_boots.value < 1


def test_no_commit_called_good_leaves_no_doubt() -> None:
    assert confidence({"b": BAD}, 1, "").value == 1.0


DOCUMENT = {
    "bug": {"kind": "rmap_underflow", "function": None},
    "guilty": {"cited": "1234 mm: break it", "author": "A Hacker <a@example.org>  2026"},
    "suspects": [{"cited": "1234 mm: break it", "author": "A Hacker"}],
    "confidence": {
        "value": 0.987,
        "hits": 3,
        "boots": 4,
        "interval": [0.3, 0.95],
        "passes_unseen": 0.01,
        "good_commits": 2,
    },
    "revert": {"verdict": "heals", "why": "3 clean boots"},
    "steps": [{"cited": "99 mm: typo", "mark": "skip", "why": "it does not build"}],
    "clean_boots": 3,
    "log": ["# first bad commit"],
    "session": "/s",
}


def test_the_end_names_commit_author_confidence_and_what_was_skipped() -> None:
    text = summary(DOCUMENT)
    for words in ("1234 mm: break it", "A Hacker", "heals", "98.7%", "99 mm: typo", "first bad"):
        assert words in text


def test_several_suspects_are_all_named() -> None:
    suspects = [{"cited": f"{n} mm: x", "author": "A"} for n in (1, 2)]
    text = summary({**DOCUMENT, "guilty": None, "suspects": suspects})
    assert "one of these" in text
    assert "1 mm: x" in text
    assert "2 mm: x" in text
