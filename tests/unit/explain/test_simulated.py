"""Simulated kernels: a right one is always clean, a wrong one is always found out."""

from __future__ import annotations

import functools
import io
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.explain.audits import audit, resolve
from tests.unit.explain.checked import explain
from tests.unit.explain.kernel import (
    Kernel,
    events_of,
)
from zaptrace.capture.reader import read
from zaptrace.capture.writer import Writer
from zaptrace.explain import Evidence
from zaptrace.model.errors import BadInput
from zaptrace.model.events import Events
from zaptrace.model.findings import Finding, FindingClass
from zaptrace.model.verdict import VerdictKind

SEEDS = st.integers(0, 2**32)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans(), st.sampled_from(((0, 0), (0, 1), (1, 1))), st.booleans())
def test_a_right_kernel_is_clean(
    seed: int, every_free: bool, known: tuple[int, int], checks: bool
) -> None:
    audited, printed = known
    kernel = Kernel(random.Random(seed), records_every_free=every_free, checks_frees=checks)
    events = kernel.run(processes=20)
    assert len(events.records) > 50 and not kernel.refused
    found = audit() if audited else None
    verdict = explain(Evidence(events, (), found, ended="exit", console=bool(printed)))
    wanted = VerdictKind.CLEAN if audited or printed else VerdictKind.UNEXPLAINED
    assert verdict.kind is wanted
    assert (verdict.pfn, verdict.pid, verdict.order, verdict.sites) == (None, None, (), ())


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans(), st.sampled_from((0.1, 0.5, 1.0)))
@example(1120616417, False, 0.5)  # a child of fork() had unmapped the page before
def test_a_wrong_order_is_found_in_a_whole_run(seed: int, resets: bool, share: float) -> None:
    kernel = Kernel(random.Random(seed), resets_mapcount=resets)
    events = kernel.run(processes=20, buggy_share=share)
    verdict = explain(Evidence(events, (), None, ended="exit", console=True))
    if not kernel.refused:
        assert verdict.kind is VerdictKind.CLEAN
        return
    pfn, thread = kernel.refused[0]
    assert verdict.kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED
    assert (verdict.pfn, verdict.pid) == (pfn, thread.pid)
    assert verdict.comm == thread.comm.decode()
    times = [step.time_ns for step in verdict.order if step.time_ns is not None]
    assert times == sorted(times)
    *by_others, cleared, freed, refused, removed = verdict.order
    assert all("rmap is removed by" in step.what for step in by_others)
    assert (freed.raw_mapcount, freed.refcount) == (0, 0)
    assert "zap_pte_range" in cleared.what and "nonzero mapcount" in refused.what
    assert "too late" in removed.what
    assert {step.pid for step in verdict.order[-4:]} == {thread.pid}


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.booleans(), st.booleans(), st.booleans())
def test_a_leak_is_never_reported_as_a_wrong_order(
    seed: int, checks: bool, every_free: bool, named: bool
) -> None:
    """Not where the page is used again by the same thread, copied on write or migrated."""
    kernel = Kernel(random.Random(seed), checks_frees=checks, records_every_free=every_free)
    events = kernel.run(processes=20, buggy_share=0.5, bug="leak")
    wrong = kernel.refused + kernel.unseen
    verdict = explain(Evidence(events, (), None, resolve if named else lambda _: None))
    if wrong:
        assert verdict.kind in (VerdictKind.MAPPING_LEAKED, VerdictKind.UNEXPLAINED)
    if wrong and checks and named:
        assert (verdict.kind, verdict.pfn) == (VerdictKind.MAPPING_LEAKED, wrong[0][0])


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.booleans())
def test_a_wrong_order_that_no_check_sees_is_found(seed: int, named: bool) -> None:
    """The removal names a zap, or finds a page that is free."""
    kernel = Kernel(random.Random(seed), checks_frees=False)
    events = kernel.run(processes=20, buggy_share=0.5)
    if not kernel.unseen:
        return
    verdict = explain(Evidence(events, (), None, resolve if named else lambda _: None))
    assert verdict.kind is VerdictKind.FREED_BEFORE_RMAP_REMOVED
    assert (verdict.pfn, verdict.pid) == (kernel.unseen[0][0], kernel.unseen[0][1].pid)
    assert "too late" in verdict.order[-1].what


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from(("audit", "source", "both")))
def test_a_story_that_is_cut_at_the_stop_is_left_open(seed: int, proof: str) -> None:
    """The removal may come late or never: who looks no further must not say which."""
    kernel = Kernel(random.Random(seed), stop_at_bad_page=True)
    events = kernel.run(processes=20, buggy_share=0.4)
    if not kernel.refused:
        return
    pfn, thread = kernel.refused[0]
    finding = Finding(FindingClass.IN_FLIGHT, pfn, 0, 1, 0, raw_mapcount=0)
    evidence = Evidence(
        events,
        (),
        None if proof == "source" else audit(finding),
        (lambda _: None) if proof == "audit" else resolve,
        "bad_page",
    )
    verdict = explain(evidence)
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert (verdict.pfn, verdict.pid) == (pfn, thread.pid)
    if proof != "audit":
        assert verdict.sites[0].role == "freed"
    assert verdict.proof == (() if proof == "source" else (finding,))
    assert any("comes late" in doubt for doubt in verdict.doubts)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(1, 40))
def test_events_lost_at_random_never_make_another_bug(seed: int, share: int) -> None:
    """What is left after losses may be too little to explain it, but never explains it wrongly."""
    rng = random.Random(seed)
    kernel = Kernel(rng)
    kernel.run(processes=20, buggy_share=0.5)
    kept = [row for row in kernel.rows if rng.randrange(100) >= share]
    lost = len(kernel.rows) - len(kept)
    verdict = explain(Evidence(events_of(kept, lost=lost), (), None, console=True))
    # Not clean either: what was lost may have been the bug.
    assert verdict.kind in (VerdictKind.FREED_BEFORE_RMAP_REMOVED, VerdictKind.UNEXPLAINED)
    if lost:
        assert any("lost" in doubt for doubt in verdict.doubts)


@functools.cache
def captured(bug: str, seed: int) -> bytes:
    """A capture of a run with one kind of bug, in frames of a few records."""
    events = Kernel(random.Random(seed)).run(processes=8, buggy_share=0.6, bug=bug)
    file = io.BytesIO()
    with Writer(file) as writer:
        writer.meta({"after": "exit", "records": len(events.records)})
        writer.strings(events.strings)
        writer.stacks(events.stacks)
        for start in range(0, len(events.records), 3):
            writer.events(events.records[start : start + 3])
    return file.getvalue()


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(("batch", "leak")), st.integers(0, 5), st.data(), st.booleans())
def test_damage_never_makes_another_bug(
    bug: str, seed: int, data: st.DataObject, cut: bool
) -> None:
    """A byte of a capture is flipped, or its end is missing."""
    raw = bytearray(captured(bug, seed))
    at = data.draw(st.integers(0, len(raw) - 1))
    if cut:
        del raw[at:]
    else:
        raw[at] ^= data.draw(st.integers(1, 255))
    try:
        events = read(io.BytesIO(bytes(raw)))
    except BadInput:
        return
    for audited in (None, audit()):
        verdict = explain(Evidence(events, (), audited, resolve))
        own = {"batch": VerdictKind.FREED_BEFORE_RMAP_REMOVED, "leak": VerdictKind.MAPPING_LEAKED}
        assert verdict.kind in (own[bug], VerdictKind.UNEXPLAINED, VerdictKind.CLEAN)
        assert whole(events) or verdict.doubts


def whole(events: Events) -> bool:
    return not events.meta["damaged_frames"] and events.meta.get("records") == len(events.records)


@pytest.mark.parametrize("bug", ["batch", "leak"])
def test_an_undamaged_capture_shows_all(bug: str) -> None:
    verdict = explain(Evidence(read(io.BytesIO(captured(bug, 1))), resolve=resolve))
    assert (
        verdict.kind.value == {"batch": "freed_before_rmap_removed", "leak": "mapping_leaked"}[bug]
    )
