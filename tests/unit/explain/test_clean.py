"""`clean` needs evidence in which a bug would show."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.explain.audits import audit
from tests.unit.explain.checked import explain
from tests.unit.explain.kernel import events_of
from tests.unit.explain.rows import removed, zap
from zaptrace.explain import Evidence
from zaptrace.model.events import Events, Kind
from zaptrace.model.verdict import VerdictKind

HEALTHY = [zap(1000), removed(2000), zap(3000)]
ONLY_CONSOLE = Evidence(console=True)
RECORDED = Evidence(events_of(HEALTHY), console=True)


def recorded(**meta: Any) -> Events:
    events = events_of(HEALTHY)
    events.meta.update(meta)
    return events


@pytest.mark.parametrize(
    ("evidence", "kind", "doubt"),
    [
        (RECORDED, "clean", "No page tables were audited"),
        (replace(RECORDED, ended="timeout"), "clean", "The time limit ended the run"),
        (replace(RECORDED, ended="interrupted"), "unexplained", "The run was cut short"),
        (replace(RECORDED, console=False), "unexplained", "Resident-set counters"),
        (replace(RECORDED, events=recorded(damaged_frames=1)), "unexplained", "damaged: 1"),
        (replace(RECORDED, events=recorded(unavailable=["zt2"])), "unexplained", "probe zt2"),
        (replace(RECORDED, unrecorded=("No frees.",)), "unexplained", "No frees."),
        (
            replace(RECORDED, events=recorded(sites=[{"event": "zap"}, {"event": "rmap_remove"}])),
            "unexplained",
            "No bad_page was recorded",
        ),
        (replace(RECORDED, events=Events()), "unexplained", "No zap was recorded"),
        (ONLY_CONSOLE, "clean", "the kernel did not look at"),
        (replace(ONLY_CONSOLE, ended="timeout"), "unexplained", "No events were recorded"),
        (replace(ONLY_CONSOLE, ended="interrupted"), "unexplained", "cut short"),
        (Evidence(audit=audit()), "clean", "No events were recorded"),
        (Evidence(recorded(damaged_frames=1), audit=audit()), "clean", "damaged: 1"),
        (Evidence(audit=replace(audit(), mms=0)), "unexplained", "No events were recorded"),
        (Evidence(), "unexplained", "No page tables were audited"),
        (Evidence(ended="timeout"), "unexplained", "The time limit ended the run"),
        (Evidence(ended="interrupted"), "unexplained", "The run was cut short"),
    ],
)
def test_clean_needs_evidence_in_which_a_bug_would_show(
    evidence: Evidence, kind: str, doubt: str
) -> None:
    verdict = explain(evidence)
    assert verdict.kind.value == kind
    assert any(doubt in one for one in verdict.doubts), verdict.doubts
    assert verdict.evidence == evidence.parts


def test_what_is_watched_is_what_the_plan_says_and_what_came() -> None:
    lossy = events_of([zap(1000), removed(2000)], lost=3)
    assert Evidence(lossy).watched == {"zap", "rmap_remove"}
    planned = recorded(sites=[{"event": "bad_page"}, {"event": "zap_enter"}])
    assert Evidence(planned).watched == {"zap", "rmap_remove", "bad_page", "zap_enter"}
    assert Evidence().watched == frozenset()
    assert (Evidence(lossy).complete, Evidence().complete, RECORDED.complete) == (
        False,
        False,
        True,
    )


PAGE_FREE, RMAP_REMOVE = 0x1000, 0x2000


def losing(site: int) -> Evidence:
    """A healthy recording, but for two hits that the probe at a site missed."""
    sites = [
        {"event": "bad_page", "address": 0x3000},
        {"event": "page_free", "address": PAGE_FREE},
        {"event": "rmap_remove", "address": RMAP_REMOVE},
    ]
    events = events_of([*HEALTHY, {"kind": Kind.LOST, "nr": 2, "site": site}])
    return replace(RECORDED, events=replace(events, meta={"sites": sites}))


def test_a_free_missed_in_an_interrupt_hides_no_rmap_removal() -> None:
    evidence = losing(PAGE_FREE)
    assert evidence.complete
    verdict = explain(evidence)
    assert verdict.kind is VerdictKind.CLEAN
    assert verdict.doubts[0].startswith("2 page_free events were lost, for the probe was hit")


@pytest.mark.parametrize(
    ("unavailable", "unrecorded", "seen"),
    [
        (["zt2_page_free", "zt3_page_free"], (), {"zap", "rmap_remove", "bad_page"}),
        ([], ("zt4_page_free: order makes its definition too long for the kernel",), {"zap"}),
        (["zt5_rmap_remove"], (), {"zap", "bad_page"}),
        (["zt0_zap"], (), {"rmap_remove", "bad_page"}),
        ([], ("No events: --no-probes.",), set()),
        (["another"], (), set()),
    ],
)
def test_what_one_probe_lacks_says_nothing_of_the_others(
    unavailable: list[str], unrecorded: tuple[str, ...], seen: set[str]
) -> None:
    healthy = losing(PAGE_FREE)
    assert healthy.events is not None
    healthy.events.meta["unavailable"] = unavailable
    evidence = replace(healthy, unrecorded=unrecorded)
    assert all(evidence.saw(kind) for kind in seen)
    needed = {"zap", "rmap_remove", "bad_page"}
    assert {kind for kind in needed if evidence.saw(kind)} >= seen
    assert evidence.complete == all(evidence.saw(kind) for kind in needed)
    assert evidence.complete == ("page_free" in " ".join((*unavailable, *unrecorded)))


def test_a_zap_probe_that_the_kernel_never_comes_by_is_no_recording_of_zaps() -> None:
    """As on an x86_64 7.3 kernel: 15,900 removals, and not one zap."""
    sites = [{"event": kind, "address": 0x1000} for kind in ("zap", "rmap_remove", "bad_page")]
    events = events_of([removed(1000), removed(2000)])
    evidence = replace(RECORDED, events=replace(events, meta={"sites": sites}))
    assert evidence.saw("rmap_remove")
    assert not evidence.saw("zap")
    assert not evidence.complete
    assert any("No zap was recorded, though" in one for one in evidence.unseen_events)


@pytest.mark.parametrize("site", [RMAP_REMOVE, 0x4000])
def test_any_other_missed_event_may_have_been_the_bug(site: int) -> None:
    evidence = losing(site)
    assert not evidence.complete
    assert explain(evidence).kind is VerdictKind.UNEXPLAINED
