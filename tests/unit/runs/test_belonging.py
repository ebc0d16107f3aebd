"""Pieces of two kernels or boots are refused; what a piece does not say counts for nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.explain.kernel import events_of
from tests.unit.explain.test_rules import PFN, finding, freed, refused, zap
from tests.unit.explain.test_simulated import audit
from zaptrace.model.errors import BadInput
from zaptrace.model.events import Events
from zaptrace.model.findings import AuditResult, FindingClass
from zaptrace.model.plan import ProbePlan
from zaptrace.model.splats import Splat
from zaptrace.runs.belonging import check
from zaptrace.runs.folder import RunFacts, RunFolder

SECOND = 10**9
META = {"arch": "s390x", "release": "6.1.0", "build_id": "aa"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder.create("s390x", tmp_path / "run")
    run.save_plan(ProbePlan("aa", "s390x", "6.1.0", ()))
    return run


def facts(ended: str = "bad_page") -> RunFacts:
    return RunFacts("s390x", "image", "vmlinux", "initrd", None, "zaptrace", ended=ended)


def events(**meta: Any) -> Events:
    rows = [zap(SECOND), freed(2 * SECOND), refused(3 * SECOND)]
    made = events_of(rows)
    made.meta.update({**META, **meta})
    return made


def state(**fields: Any) -> Splat:
    return Splat("bad_page_state", **{"pfn": PFN, "time": 3.1, "kernel_release": "6.1.0", **fields})


def found(pfn: int = PFN) -> AuditResult:
    one = finding(FindingClass.REFCOUNT_BELOW_MAPCOUNT, 0, 1, 0)
    return audit(type(one)(one.cls, pfn, 0, 1, 0))


def test_pieces_of_one_boot_belong_together(folder: RunFolder) -> None:
    check(folder, facts(), events(), found(), [state()])
    check(folder, facts(), None, None, [])
    nothing = Events(meta={})
    check(folder, facts(), nothing, None, [state(kernel_release=None, time=None, pfn=None)])


@pytest.mark.parametrize(
    ("meta", "splat", "pfn", "says"),
    [
        (
            {"arch": "x86_64"},
            {},
            PFN,
            r"run\.json and .*capture\.zap .*: architecture s390x and x86",
        ),
        ({"build_id": "bb"}, {}, PFN, r"plan\.json and .*capture\.zap .*: build ID aa and bb"),
        ({"release": "6.2"}, {}, PFN, r"plan\.json and .*capture\.zap .*: kernel 6\.1\.0 and 6\.2"),
        ({}, {"kernel_release": "6.3"}, PFN, r"plan\.json and .*console\.log .*6\.1\.0 and 6\.3"),
        ({}, {"time": 900.0}, PFN, r"events from 1\.000 s to 3\.000 s, reports from 900\.000 s"),
        ({}, {"pfn": 7}, PFN, r"pfn 0xa80 was refused in the one, pfn 0x7 is wrong in the other"),
        ({}, {}, 8, r"capture\.zap and .*vmcore .*pfn 0x8 is wrong"),
    ],
)
def test_pieces_of_two_are_refused(
    folder: RunFolder, meta: dict[str, Any], splat: dict[str, Any], pfn: int, says: str
) -> None:
    with pytest.raises(BadInput) as caught:
        check(folder, facts(), events(**meta), found(pfn), [state(**splat)])
    assert "do not belong together" in str(caught.value)
    assert re.search(says, str(caught.value))
    assert "\n" not in str(caught.value)


def test_reports_from_before_the_capture_and_dumps_of_later_are_not_compared(
    folder: RunFolder,
) -> None:
    check(folder, facts(), events(), None, [state(pfn=7, time=0.5), state()])
    check(folder, facts("exit"), events(), found(8), [])
    lossy = events_of([zap(SECOND), refused(3 * SECOND)], lost=1)
    check(folder, facts(), lossy, found(8), [state(pfn=7)])
