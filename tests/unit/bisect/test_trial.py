"""What a boot's verdict means for a commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sentences import sentences
from vm.kernel_tree import TreeKernel
from zaptrace.model.errors import CannotTell
from zaptrace.model.progress import Update, ignore
from zaptrace.model.verdict import Verdict, VerdictKind
from zaptrace.runs.bisect import trial
from zaptrace.runs.bisect.drive import _doubt, bug_of
from zaptrace.runs.bisect.seen_by import Sight, Wanted
from zaptrace.runs.bisect.trial import Guest, Mark, Outcome, Seen, _judged, _most_often
from zaptrace.runs.explain_run import Result
from zaptrace.runs.repro import Request
from zaptrace.runs.signature import Signature

BUG = Signature("freed_before_rmap_removed", "zap_pte_range")
OTHER = Signature("rmap_underflow", "zap_pte_range")
RUN = Path("/run")
EVENTS = ("bad_page", "rmap_remove", "zap")
SIGHT = Sight(("capture",), EVENTS, complete=True)
UNKNOWN = Signature("unexplained")


def test_the_same_bug_is_bad() -> None:
    outcome = _judged(BUG, Seen(BUG, RUN), 2)
    assert (outcome.mark, outcome.boots, outcome.hits) == (Mark.BAD, 2, 1)
    assert outcome.signature == BUG
    assert outcome.run == "/run"


def test_another_bug_is_neither_bad_nor_good_and_said() -> None:
    outcome = _judged(BUG, Seen(OTHER, RUN), 1)
    assert outcome.mark is Mark.SKIP
    assert outcome.why == "another bug: rmap_underflow in zap_pte_range()"


def test_the_bug_of_a_revision_is_the_one_that_most_boots_show() -> None:
    seen = [Seen(OTHER, Path("/1")), Seen(BUG, Path("/2")), Seen(BUG, Path("/3"))]
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
    for outcome in (
        _judged(BUG, Seen(BUG, RUN, SIGHT), 1),
        Outcome(Mark.SKIP, "it does not build"),
    ):
        assert Outcome.from_json(outcome.to_json()) == outcome


def clean(parts: tuple[str, ...], events: tuple[str, ...] = EVENTS, whole: bool = True) -> Result:
    verdict = Verdict(VerdictKind.CLEAN, sentences("Nothing."), evidence=parts)
    return Result(verdict, {}, "", False, frozenset(events), whole)


@pytest.mark.parametrize(
    ("result", "lacking"),
    [
        (clean(("capture", "splat", "vmcore")), None),
        (clean(("capture", "splat"), (*EVENTS, "page_free")), None),
        (clean(("splat", "vmcore")), "no capture of the events"),
        (clean(("capture", "vmcore"), ("bad_page", "zap")), "no probe for rmap_remove"),
        (clean(("capture", "vmcore"), whole=False), "no whole recording of the events"),
    ],
)
def test_a_good_boot_has_seen_what_the_bug_is_known_by(
    result: Result, lacking: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boot(request: Request, _listener: object) -> Result:
        assert request.folder is not None
        request.folder.mkdir(parents=True, exist_ok=True)
        return result

    monkeypatch.setattr(trial, "repro", boot)
    monkeypatch.setattr(trial, "_request", lambda _k, _g, run: Request("s390x", folder=run))
    kernel: TreeKernel = None  # type: ignore[assignment]  # only handed on
    outcome = trial._boots(kernel, Guest(boots=2), Wanted(BUG, SIGHT), tmp_path, ignore)
    assert outcome.mark is (Mark.SKIP if lacking else Mark.GOOD)
    assert (lacking or "2 clean boots") in outcome.why
    anything = trial._boots(kernel, Guest(boots=2), Wanted(BUG), tmp_path, ignore)
    assert anything.mark is Mark.GOOD


def test_a_boot_that_saw_the_dump_only_needs_one_again() -> None:
    result = clean(("capture", "splat"))
    assert Wanted(BUG, Sight(("vmcore",))).unseen(result) is not None
    assert Wanted(BUG, Sight(("splat",))).unseen(result) is None


def test_a_bug_that_no_rule_explains_counts_only_where_no_other_is_seen() -> None:
    seen = [Seen(UNKNOWN, Path("/1")), Seen(UNKNOWN, Path("/2")), Seen(BUG, Path("/3"))]
    assert _most_often(seen, 3).signature == BUG
    assert _most_often(seen[:2], 3).signature == UNKNOWN


def test_a_bug_that_no_rule_explains_cannot_be_bisected() -> None:
    outcome = _most_often([Seen(UNKNOWN, RUN)], 3)
    with pytest.raises(CannotTell, match="no rule explains") as error:
        bug_of(outcome)
    assert error.value.hint == "zaptrace explain /run"
