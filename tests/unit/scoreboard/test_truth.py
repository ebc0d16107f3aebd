"""The scoreboard's check: a verdict of the right kind on the wrong page, task or line is wrong."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.scoreboard import elsewhere
from tests.scoreboard.board import _no_verdict, _row
from tests.scoreboard.elsewhere import CAUSES, ZAP_CAUSES
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
KERNEL = {"kernel": "6.1.176-zaptrace", "series": "6.1"}


def verdict(**fields: Any) -> dict[str, Any]:
    own = {"kind": "mapping_leaked", "pfn": 1235, "comm": "leak", "function": "zap_pte_range"}
    return {**own, "summary": "", "doubts": [], "evidence": ["capture"], **fields}


def test_the_truth_is_what_the_victims_and_the_kernel_said() -> None:
    at = {1234: frozenset({0x3FFA000}), 1235: frozenset({0x3FFB000})}
    assert Truth(frozenset({1234, 1235}), frozenset({"leak"}), "zap_pte_range", at) == LEAK
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
            KERNEL
            | _row("s390x", "none", subset, verdict(kind=kind, doubts=said, **nothing), Truth())
        )
    assert all(row["ok"] for row in rows)
    assert "## 6.1.176-zaptrace" in page(rows)
    assert "| none | `clean` | s390x | 1 | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ | ✓ |" in page(rows)
    assert "1 of 1 healthy boots" in page(rows)
    bad = _row("s390x", "none", "csv", verdict(kind="clean"), Truth())
    assert not bad["ok"]


def test_every_row_that_says_less_says_what_it_must_name() -> None:
    for fault in (*FAULTS, "none"):
        assert all(one.says for one in WEAKER.get(fault, ()))
        assert weaker(fault, "s390x", "csv") is None
    zapped = {fault.removesuffix("-large") for fault in FAULTS if fault not in elsewhere.FAULTS}
    assert zapped == OWN.keys() - {"none"}


COW = """\
zaptrace: victim cow pid 31 zapper 33 addr 0x3ffa000 pfn 1234 quiet\r
zaptrace: victim cow pid 31 zapper 31 addr 0x3ffb000 pfn 1235 loud\r
"""
TRUE_READING = "A PTE of it went and its rmap was not removed (mapping_leaked)."


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, None),
        ({"kind": "mapping_leaked"}, None),
        ({"sentences": [{"text": TRUE_READING}], "doubts": []}, None),
        ({"doubts": []}, "the cause is not among its readings"),
        ({"kind": "refcount_overput"}, "got refcount_overput"),
        ({"pfn": 9}, "page 0x9 was not struck"),
        (
            {"summary": "cow/31 zapped and freed page 0x4d3 without removing its rmap at all."},
            "it did not happen (without removing its rmap)",
        ),
        ({"order": [{"what": "cow/31 removed it twice in one zap"}]}, "it did not happen"),
    ],
)
def test_a_cause_elsewhere_is_left_open_and_nothing_false_is_said(
    fields: dict[str, Any], wrong: str | None
) -> None:
    said = verdict(kind="unexplained", doubts=[TRUE_READING], function=None) | fields
    row = _row("x86_64", "cow", "csv", said, truth("cow", COW))
    assert row["ok"] is (wrong is None), row["wrong"]
    assert wrong is None or any(one.startswith(wrong) for one in row["wrong"])


def test_on_another_kernel_less_is_right_where_the_cause_is_named() -> None:
    assert ZAP_CAUSES.keys() >= OWN.keys() - {"none"}
    for kind, subset, doubts, right in (
        ("mapping_leaked", "csv", [TRUE_READING], True),
        ("unexplained", "cs", [TRUE_READING], True),
        ("unexplained", "csv", [TRUE_READING], False),
        ("unexplained", "cs", [], False),
        ("rmap_underflow", "csv", [TRUE_READING], False),
    ):
        said = verdict(kind=kind, doubts=doubts)
        row = _row("s390x", "leak", subset, said, LEAK, series="6.12")
        assert row["ok"] is right, row["wrong"]
        assert row["expected"] == "unexplained or mapping_leaked"


@pytest.mark.parametrize(
    ("others", "right"),
    [
        (["1 more page: mapping_leaked"], True),
        (["2 more pages: no verdict of their own"], True),
        (["2 more pages: rmap_underflow"], False),  # two pages that a COW was just copying
    ],
)
def test_other_pages_are_no_other_bugs(others: list[str], right: bool) -> None:
    said = verdict(kind="unexplained", doubts=[TRUE_READING], function=None, others=others)
    assert _row("x86_64", "cow", "csv", said, truth("cow", COW))["ok"] is right


def test_every_cause_elsewhere_differs_from_what_did_not_happen() -> None:
    for fault, cause in (ZAP_CAUSES | CAUSES).items():
        assert "clean" not in cause.kinds, fault
        assert not re.search(cause.impossible, cause.reading), fault


@pytest.mark.parametrize(
    ("first", "end", "wrong"),
    [(0x3FFB000, 0x3FFC000, False), (0x3FFA000, 0x3FFB000, True), (0x3FFC000, 0x3FFD000, True)],
)
def test_a_zap_of_another_address_is_not_of_the_page_s_story(
    first: int, end: int, wrong: bool
) -> None:
    step = {"what": f"zap_pte_range() begins on {first:#x}-{end:#x} of mm 0x1ae8800"}
    row = _row("s390x", "leak", "csv", verdict(order=[step]), LEAK)
    assert row["ok"] is not wrong
    assert not wrong or row["wrong"] == [f"it is no zap of the page: {step['what']}"]
