"""JUnit XML and KTAP: read back by other readers than ours."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from zaptrace.report.ci import Case, junit, ktap

CASES = [
    Case("boot_1", 1.5),
    Case("boot_2", 2.0, "rmap_underflow", message="pfn 1 & <2>", details="one\ntwo # three\n\nend"),
    Case("boot_3", 3.0, error="the guest hung:\nno user space"),
    Case("boot #4", 0.5, "unexplained", message="\x00\ud800 odd", details="\x1b[31m\ufffe"),
]


def test_junit_counts_failures_and_errors_apart() -> None:
    root = ET.fromstring(junit("zaptrace.s390x", CASES))
    suite = root[0]
    assert root.tag == "testsuites"
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "time")} == {
        "tests": "4",
        "failures": "2",
        "errors": "1",
        "time": "7.000",
    }
    good, bad, lost, odd = suite
    assert len(good) == 0
    failure = bad.find("failure")
    assert failure is not None
    assert failure.get("message") == "pfn 1 & <2>"
    assert failure.text == "one\ntwo # three\n\nend"
    assert lost.find("error") is not None
    assert odd.find("failure") is not None


def test_ktap_is_a_version_a_plan_and_a_result_a_boot() -> None:
    lines = ktap("zaptrace.s390x", CASES).splitlines()
    assert lines[:4] == ["KTAP version 1", "1..1", "  KTAP version 1", "  1..4"]
    assert lines[-1] == "not ok 1 zaptrace.s390x"
    form = re.compile(r"  (ok|not ok) (\d+) ([^#]*\S)(?: # (.*))?")
    results = [match.groups() for line in lines if (match := form.fullmatch(line))]
    assert [(one[0], one[1], one[2]) for one in results] == [
        ("ok", "1", "boot_1"),
        ("not ok", "2", "boot_2"),
        ("not ok", "3", "boot_3"),
        ("not ok", "4", "boot _4"),
    ]
    assert results[2][3] == "ERROR the guest hung: no user space"
    others = [line for line in lines[4:-1] if not form.fullmatch(line)]
    assert others
    assert all(line.startswith("  #") for line in others)


def test_a_suite_of_clean_boots_is_ok() -> None:
    assert ktap("s", CASES[:1]).splitlines()[-1] == "ok 1 s"
