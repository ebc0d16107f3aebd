"""One pass of the scoreboard: every fault on both architectures, and a few healthy boots."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tests.guest.shared_runs import SharedRuns
from tests.scoreboard import elsewhere
from tests.scoreboard.board import ARCHES, LOST, board, ordered, rows_of
from tests.scoreboard.board import rows as rows_of_a_boot
from tests.scoreboard.expected import FAULTS, OWN, SUBSETS, WEAKER
from tests.scoreboard.table import page
from tests.scoreboard.truth import Row

pytestmark = pytest.mark.guest
SCHEMA = json.loads((Path(__file__).parents[1] / "schemas/scoreboard.schema.json").read_text())
HEALTHY = 1
"""Boots under load on each architecture; `make scoreboard` makes 50, also of other kernels."""

BOOTED = [fault for fault in FAULTS if fault not in elsewhere.PAIRS]
"""`make scoreboard` boots the others, too."""


@pytest.fixture(scope="module")
def rows(shared: SharedRuns) -> list[Row]:
    """Other tests look at the same boots of the faults."""

    def look(series: str, arch: str, fault: str) -> list[Row]:
        if fault == "none":
            return rows_of_a_boot(series, arch, fault)
        return rows_of(series, arch, fault, *shared.run_or_lost(arch, fault))

    return ordered(board(BOOTED, clean=HEALTHY, look=look))


def test_every_verdict_is_right_and_none_is_false(rows: list[Row]) -> None:
    lost = {(row["fault"], row["arch"]): row["doubts"] for row in rows if row["got"] == LOST}
    assert lost == {}, "lost guests: no verdict is wrong by that"
    assert [row for row in rows if not row["ok"]] == []


def test_every_fault_is_there_with_every_subset_on_each_architecture(rows: list[Row]) -> None:
    jsonschema.validate(rows, SCHEMA)
    faulty = [row for row in rows if row["fault"] != "none"]
    assert len(faulty) == len(BOOTED) * len(ARCHES) * len(SUBSETS)
    assert len(rows) - len(faulty) == HEALTHY * len(ARCHES) * len(SUBSETS)
    assert f"{len(faulty)} of {len(faulty)} verdicts" in page(rows)


def test_all_of_the_evidence_always_settles_it() -> None:
    for fault in FAULTS:
        assert not any("csv" in weaker.subsets for weaker in WEAKER.get(fault, ()))
    zapped = {fault.removesuffix("-large") for fault in FAULTS if fault not in elsewhere.FAULTS}
    assert zapped == OWN.keys() - {"none"}
