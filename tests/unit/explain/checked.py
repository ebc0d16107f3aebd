"""A verdict, with each of its sentences checked against the evidence."""

from __future__ import annotations

import zaptrace.explain
from tests.verdict_check import objections
from zaptrace.explain import Evidence
from zaptrace.model.verdict import Verdict


def explain(evidence: Evidence) -> Verdict:
    """As zaptrace.explain.explain; fails where a sentence does not rest on the evidence."""
    verdict = zaptrace.explain.explain(evidence)
    assert objections(verdict, evidence) == []
    return verdict
