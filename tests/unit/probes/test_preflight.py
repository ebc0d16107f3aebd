"""Filters that can be had, and those that name nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from probes.bccsource import BccSource
from probes.filters import Filters
from probes.preflight import check_filters
from probes.tracefs import TracefsSource
from zaptrace.model.errors import BadInput
from zaptrace.model.plan import ProbePlan

PLAN = ProbePlan("00", "x86_64", None, ())


@pytest.mark.parametrize(
    ("filters", "word"),
    [
        (Filters(comms=('a"b',)), "task's name"),
        (Filters(comms=("",)), "task's name"),
        (Filters(comms=("sixteen chars...",)), "task's name"),
        (Filters(pids=(2**30,)), "no process 1073741824"),
        (Filters(pids=(os.getpid(), -1)), "no process -1"),
        (Filters(cgroup=Path("/nowhere")), "no cgroup v2 folder"),
    ],
)
def test_filters_that_make_no_sense_are_refused_by_both_sources(
    filters: Filters, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probes.bccsource.check", lambda *_: None)
    sources = (BccSource,) if filters.cgroup else (BccSource, TracefsSource)
    for source in sources:
        with pytest.raises(BadInput, match=word):
            source(PLAN, filters)


def test_a_cgroup_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    check_filters(Filters(cgroup=tmp_path))
    (tmp_path / "cgroup.controllers").unlink()
    (tmp_path / "tasks").touch()  # the first version's
    with pytest.raises(BadInput, match="no cgroup v2 folder"):
        check_filters(Filters(cgroup=tmp_path))
