"""Progress for logs: a line now and then, also where the amount of work is not known."""

from __future__ import annotations

import pytest

from zaptrace.cli import output
from zaptrace.model.progress import step


@pytest.mark.parametrize(("total", "said"), [(None, "300 done"), (1407, "300 of 1407")])
def test_a_long_step_is_not_silent(
    total: int | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(output, "PLAIN_SECONDS", 0.0)
    with output.progress() as listener, step("compile", "Compile for s390x", listener) as current:
        current.advance(note="nothing to count")
        current.advance(300, total)
    assert capsys.readouterr().err.splitlines()[0] == f"         Compile for s390x: {said}"
