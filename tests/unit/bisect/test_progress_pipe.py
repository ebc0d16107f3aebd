"""Progress from one process to another."""

from __future__ import annotations

import io

import pytest

from zaptrace.model.progress import State, Update
from zaptrace.runs.bisect import progress_pipe


def test_an_update_is_a_line_and_back() -> None:
    stream = io.StringIO()
    update = Update("compile", "Compile", State.RUNNING, 3, 9, "mm/ÿ\n.o")
    progress_pipe.writer(stream)(update)
    (line,) = stream.getvalue().splitlines()
    assert progress_pipe.parse(line) == update


@pytest.mark.parametrize(
    "line",
    [
        "Bisecting: 3 revisions left",
        "",
        '{"zaptrace": ',
        '{"zaptrace": "update"}',
        '{"zaptrace": "update", "step": 1, "title": 2, "state": "odd"}',
        '{"zaptrace": "update", "state": "done", "more": 1}',
    ],
)
def test_whatever_else_git_or_make_print_is_no_update(line: str) -> None:
    assert progress_pipe.parse(line) is None
