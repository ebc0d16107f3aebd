"""An interrupted scoreboard continues with the boots that are missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.scoreboard import board
from tests.scoreboard.__main__ import kept
from tests.scoreboard.board import LOST
from tests.scoreboard.expected import SUBSETS


def boot(fault: str, got: str = "clean") -> list[dict[str, Any]]:
    return [
        {"series": "6.1", "arch": "s390x", "fault": fault, "got": got, "subset": subset}
        for subset in SUBSETS
    ]


def test_whole_boots_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "scoreboard.jsonl"
    assert kept(path) == []
    whole, lost, part = boot("leak"), boot("cow", LOST), boot("rss")[:3]
    lines = [json.dumps(row) for row in (*whole, *lost, *part)]
    path.write_text("\n".join(lines)[:-9])
    assert kept(path) == whole


def test_only_what_is_missing_is_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    booted = mock.Mock(side_effect=lambda *_job: [])
    monkeypatch.setattr(board, "rows", booted)
    made = {("6.1", "s390x", "leak"): 1, ("6.1", "x86_64", "none"): 2}
    assert list(board.board(("leak", "cow"), clean=3, made=made)) == []
    jobs = sorted(call.args for call in booted.call_args_list)
    assert jobs == sorted(
        [
            *[("6.1", arch, "cow") for arch in board.ARCHES],
            ("6.1", "x86_64", "leak"),
            ("6.1", "x86_64", "none"),
            *[("6.1", "s390x", "none")] * 3,
        ]
    )


def test_kernels_without_large_folios_get_no_faults_of_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    booted = mock.Mock(return_value=[])
    monkeypatch.setattr(board, "rows", booted)
    list(board.board(("leak-large",), kernels=("7.3", "6.12")))
    assert {call.args[:2] for call in booted.call_args_list} == {
        ("7.3", "x86_64"),
        ("6.12", "x86_64"),
        ("6.12", "s390x"),
    }
