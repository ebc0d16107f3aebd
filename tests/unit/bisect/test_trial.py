"""What a boot's verdict means for a commit."""

from __future__ import annotations

from pathlib import Path

from zaptrace.model.progress import Update
from zaptrace.runs.bisect.drive import _doubt
from zaptrace.runs.bisect.trial import Mark, Outcome, _judged, _most_often
from zaptrace.runs.signature import Signature

BUG = Signature("freed_before_rmap_removed", "zap_pte_range")
OTHER = Signature("rmap_underflow", "zap_pte_range")
RUN = Path("/run")


def test_the_same_bug_is_bad() -> None:
    outcome = _judged(BUG, (BUG, RUN), 2)
    assert (outcome.mark, outcome.boots, outcome.hits) == (Mark.BAD, 2, 1)
    assert outcome.signature == BUG
    assert outcome.run == "/run"


def test_another_bug_is_neither_bad_nor_good_and_said() -> None:
    outcome = _judged(BUG, (OTHER, RUN), 1)
    assert outcome.mark is Mark.SKIP
    assert outcome.why == "another bug: rmap_underflow in zap_pte_range()"


def test_the_bug_of_a_revision_is_the_one_that_most_boots_show() -> None:
    seen = [(OTHER, Path("/1")), (BUG, Path("/2")), (BUG, Path("/3"))]
    outcome = _most_often(seen, 5)
    assert (outcome.mark, outcome.signature, outcome.run) == (Mark.BAD, BUG, "/2")
    assert (outcome.hits, outcome.boots) == (2, 5)


def test_a_rare_bug_is_a_warning_before_the_long_work() -> None:
    heard: list[Update] = []
    _doubt(Outcome(Mark.BAD, "", 3, 3), 3, heard.append)
    assert heard == []
    _doubt(Outcome(Mark.BAD, "", 3, 1), 3, heard.append)
    assert "29%: --repeat 8 makes that 10%" in heard[-1].note


def test_an_outcome_survives_the_session_file() -> None:
    for outcome in (_judged(BUG, (BUG, RUN), 1), Outcome(Mark.SKIP, "it does not build")):
        assert Outcome.from_json(outcome.to_json()) == outcome
