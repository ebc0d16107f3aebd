"""What `make bench` says of the audit's limits, of numbers that the test made."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench import __main__ as bench
from tests.bench.bench_audit import SIZES_MB, growth_rows
from tests.documents import validate


def measured(**changed: float) -> list[dict[str, Any]]:
    """Of each size just within every limit, the largest one changed."""
    told = []
    for memory in SIZES_MB:
        told.append(
            {
                "memory": memory,
                "warm": memory * 1e-5,
                "cold": memory * 2e-5,
                "read_warm": memory * 0.5e-5,
                "read_cold": memory * 1e-5,
                "bytes": memory << 14,
                "opened": memory << 16,
                "peak": memory << 17,
                "ptes": memory * 20,
            }
        )
    told[-1] |= changed
    return told


def run(
    rows: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    more: Iterable[bench.Part] = (),
) -> tuple[int, list[dict[str, Any]]]:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(bench, "parts", lambda _: [lambda: iter(rows), *more])
    monkeypatch.setattr(sys, "argv", ["bench"])
    return bench.main(), json.loads((folder / bench.OUTPUT).read_bytes())


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        ({}, []),
        ({"warm": 0.21}, ["time by memory"]),
        ({"cold": 0.5}, ["beside reading, 16384 MB"]),
        ({"peak": (16384 << 17) + 1}, ["peak memory of the process, 16384 MB"]),
        (
            {"peak": (16384 << 17) + 1, "opened": 0},
            ["peak memory of the audit, 16384 MB", "peak memory of the process, 16384 MB"],
        ),
    ],
)
def test_a_missed_limit_is_named_and_is_the_exit_status(
    changed: dict[str, float],
    missed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = measured(**changed)
    status, written = run(list(growth_rows(told)), monkeypatch, tmp_path)
    said = capsys.readouterr().out
    assert status == int(bool(missed))
    assert [line for line in said.splitlines() if line.startswith("MISSED")] == [
        f"MISSED: audit_growth: {name}" for name in missed
    ]
    validate(written, "bench")
    assert all("limit: " in row["conditions"] for row in written if "met" in row)
    assert {row["measure"] for row in written if row.get("met") is False} == set(missed)


def test_a_row_without_a_limit_is_neither_met_nor_missed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = {"name": "repro_warm", "value": 2.7, "unit": "s", "conditions": "warm"}
    assert run([row], monkeypatch, tmp_path) == (0, [row])


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_part_that_fails_costs_no_other_rows(
    kind: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second, third = (
        {"name": name, "value": 1, "unit": "s", "conditions": "warm"} for name in "abc"
    )

    def failing() -> Iterator[dict[str, Any]]:
        yield second
        raise kind("no guest [x]\nhere")

    status, written = run([first], monkeypatch, tmp_path, [failing, lambda: iter([third])])
    assert (status, written) == (1, [first, second, third])
    assert f"NOT MEASURED: {kind.__name__}: no guest [x] here" in capsys.readouterr().out


def test_numbers_of_another_run_do_not_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / bench.OUTPUT).parent.mkdir()
    (tmp_path / bench.OUTPUT).write_text('[{"name": "repro_cold"}]')
    assert run([], monkeypatch, tmp_path) == (0, [])
