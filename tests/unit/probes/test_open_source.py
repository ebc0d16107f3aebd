"""Which source is taken, and what is said of the choice."""

from __future__ import annotations

import pytest

from probes import open_source
from probes.filters import Filters
from zaptrace.model.errors import Missing
from zaptrace.model.events import Events
from zaptrace.model.plan import ProbePlan

PLAN = ProbePlan("00", "x86_64", None, ())


class Tracefs:
    """A source that notes more and more."""

    def __init__(self, *_: object) -> None:
        told = (["without debug info"], None, ["without debug info", "records too short"])
        self._told = [Events(meta={} if notes is None else {"notes": notes}) for notes in told]

    def read(self, _seconds: float) -> Events:
        return self._told.pop(0)

    def close(self) -> None:
        """Nothing."""


def no_bcc(*_: object) -> None:
    raise Missing("no compiler")


def test_what_is_noted_later_does_not_drop_why_tracefs_was_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("probes.bccsource.BccSource", no_bcc)
    monkeypatch.setattr("probes.tracefs.TracefsSource", Tracefs)
    monkeypatch.setattr("probes.bcccompiler.available", lambda: True)
    source = open_source.open_source(PLAN, Filters())
    notes = []
    for _ in range(3):
        events = source.read(0)
        assert events is not None
        notes.append(events.meta.get("notes"))
    why = "tracefs instead of bcc: no compiler"
    assert notes == [
        ["without debug info", why],
        None,
        ["without debug info", why, "records too short"],
    ]
