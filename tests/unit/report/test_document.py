"""The JSON document is the shared schema's."""

from __future__ import annotations

import json

import jsonschema
import pytest

from tests.documents import validate
from tests.sentences import sentences
from tests.unit.report.builders import INFO, VERDICT
from zaptrace.model.verdict import Verdict, VerdictKind
from zaptrace.report.document import summary
from zaptrace.report.run_info import RunInfo


@pytest.mark.parametrize(
    ("verdict", "info"),
    [
        (VERDICT, INFO),
        (Verdict(VerdictKind.CLEAN, sentences("All is well.")), INFO),
        (Verdict(VerdictKind.UNEXPLAINED, sentences("?")), RunInfo("/run")),
    ],
)
def test_the_document_is_valid(verdict: Verdict, info: RunInfo) -> None:
    document = json.loads(json.dumps(summary(verdict, info)))
    validate(document, "run")
    assert document["verdict"]["kind"] == verdict.kind.value
    assert (document["run"], document["lost"]) == (info.run, info.lost)
    assert document["timing"] == dict(info.timing)


def test_a_document_without_its_verdict_is_not() -> None:
    document = summary(VERDICT, INFO)
    del document["verdict"]["proof"]
    with pytest.raises(jsonschema.ValidationError):
        validate(document, "run")
