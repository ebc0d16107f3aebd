"""The scoreboard's check: a verdict of the right kind on the wrong page, task or line is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scoreboard.board import _no_verdict, _row
from tests.scoreboard.expected import FAULTS, OWN, SUBSETS, WEAKER, weaker
from tests.scoreboard.table import page
from tests.scoreboard.truth import Truth, truth

CONSOLE = """\
[    0.2] Kernel command line: zapfault=leak\r
zaptrace: victim leak pid 31 zapper 31 addr 0x3ffa000 pfn 1234 quiet\r
zaptrace: victim leak pid 31 zapper 31 addr 0x3ffb000 pfn 1235 loud\r
zaptrace: victim leak-large pid 33 zapper 33 addr 0x3ffb000 pfn 36 loud\r
[    0.9] BUG: Bad page state in process init  pfn:00a80\r
"""
LEAK = truth("leak", CONSOLE)


def verdict(**fields: Any) -> dict[str, Any]:
    own = {"kind": "mapping_leaked", "pfn": 1235, "comm": "leak", "function": "zap_pte_range"}
    return {**own, "summary": "", "doubts": [], "evidence": ["capture"], **fields}


def test_the_truth_is_what_the_victims_and_the_kernel_said() -> None:
    assert Truth(frozenset({1234, 1235}), frozenset({"leak"}), "zap_pte_range") == LEAK
    assert truth("leak-large", CONSOLE).pages == frozenset(range(32, 48))
    batch = truth("batch", CONSOLE)
    assert (batch.pages, batch.comms) == (frozenset({0xA80}), frozenset({"init"}))
    assert truth("none", CONSOLE) == Truth()


@pytest.mark.parametrize(
    ("subset", "fields", "wrong"),
    [
        ("csv", {}, None),
        ("v", {"comm": None, "function": None}, None),
        ("s", {"function": None, "kind": "unexplained"}, "it does not say: mapping_leaked"),
        ("csv", {"kind": "clean"}, "got clean"),
        ("csv", {"pfn": 7}, "page 0x7 was not struck"),
        ("csv", {"pfn": None}, "it names no page"),
        ("csv", {"comm": "init"}, "task init was not struck"),
        ("csv", {"comm": None}, "it names no task"),
        ("csv", {"function": "zap_huge_pmd"}, "zap_huge_pmd() is not at fault"),
        ("c", {"function": None}, "it names no function"),
    ],
)
def test_a_verdict_must_be_of_the_page_the_task_and_the_function(
    subset: str, fields: dict[str, Any], wrong: str | None
) -> None:
    row = _row("x86_64", "leak", subset, verdict(**fields), LEAK)
    assert row["ok"] is (wrong is None)
    assert wrong is None or wrong in row["wrong"]


def test_less_is_right_only_where_the_verdict_names_what_is_left() -> None:
    doubts = ["refcount_overput or freed_before_rmap_removed or mapping_leaked"]
    less = verdict(kind="unexplained", doubts=doubts)
    assert _row("s390x", "leak", "s", less, LEAK)["ok"]
    assert not _row("s390x", "leak", "s", {**less, "doubts": ["no events"]}, LEAK)["ok"]


def test_a_lost_guest_is_no_wrong_verdict_but_no_right_one_either() -> None:
    row = _row("s390x", "leak", "csv", _no_verdict(["QEMU ended by itself"]), LEAK)
    assert (row["ok"], row["got"], row["doubts"]) == (False, "lost guest", ["QEMU ended by itself"])


def test_healthy_boots_are_lines_of_the_page_too() -> None:
    nothing = {"pfn": None, "comm": None, "function": None}
    said = ["rss_mismatch", "No page tables were audited"]
    rows = []
    for subset in SUBSETS:
        kind = "unexplained" if subset == "c" else "clean"
        rows.append(
            _row("s390x", "none", subset, verdict(kind=kind, doubts=said, **nothing), Truth())
        )
    assert all(row["ok"] for row in rows)
    assert "| none | `clean` | s390x | 1 | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ |" in page(rows)
    assert "1 of 1 healthy boots" in page(rows)
    bad = _row("s390x", "none", "csv", verdict(kind="clean"), Truth())
    assert not bad["ok"]


def test_every_row_that_says_less_says_what_it_must_name() -> None:
    for fault in (*FAULTS, "none"):
        assert all(one.says for one in WEAKER.get(fault, ()))
        assert weaker(fault, "s390x", "csv") is None
    assert {fault.removesuffix("-large") for fault in FAULTS} == OWN.keys() - {"none"}
