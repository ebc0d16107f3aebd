"""The matrix's own bookkeeping: every cell is there, and says why it is not passed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.documents import validate
from tests.matrix import __main__ as matrix
from tests.matrix.rows import FAILED, NOT_POSSIBLE, PASSED, RELEASE, ROWS, STEPS, cells
from tests.matrix.table import page


def test_every_kernel_is_on_every_architecture() -> None:
    assert {(row.kernel, row.arch) for row in ROWS} == {
        (kernel, arch) for kernel in ("6.1", "6.12", "newest") for arch in ("s390x", "x86_64")
    }


def test_a_row_that_was_cut_short_has_all_its_cells() -> None:
    done: dict[str, dict[str, Any]] = {
        RELEASE: {"result": PASSED, "reason": "6.1.0", "seconds": None},
        "plan": {"result": PASSED, "reason": None, "seconds": 1.0},
        "live_bcc": {"result": NOT_POSSIBLE, "reason": "no BTF", "seconds": 2.0},
    }
    found = list(cells(ROWS[0], done, "hung"))
    assert [cell.step for cell in found] == list(STEPS)
    assert [cell.result for cell in found[:3]] == [PASSED, NOT_POSSIBLE, FAILED]
    assert {cell.reason for cell in found[2:]} == {"hung"}
    validate([cell.to_json() for cell in found], "matrix")


def test_the_page_has_a_line_for_every_cell() -> None:
    found = [cell for row in ROWS for cell in cells(row, {}, "not done")]
    text = page(found)
    assert text.count("| FAILED") == len(ROWS) * len(STEPS)
    assert text.count(": failed: not done") == len(ROWS) * len(STEPS)


def test_what_hangs_is_ended_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "KEPT", tmp_path)
    monkeypatch.setattr(matrix, "ROW_SECONDS", 0.05)
    matrix.do(ROWS[0])
    done = json.loads((tmp_path / f"{ROWS[0].name}.json").read_text())
    assert done["plan"]["result"] == FAILED
    assert "were over" in done["plan"]["reason"]
