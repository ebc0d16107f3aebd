"""Boots as test cases, which continuous integration understands: JUnit XML and KTAP."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass

ILLEGAL = {code: "\N{REPLACEMENT CHARACTER}" for code in range(32) if code not in (9, 10, 13)}
ILLEGAL |= {0xFFFE: "\N{REPLACEMENT CHARACTER}", 0xFFFF: "\N{REPLACEMENT CHARACTER}"}
"""What XML 1.0 cannot hold, not even escaped; a guest's console may bring it."""


@dataclass(frozen=True, slots=True)
class Case:
    """One boot.

    Attributes:
        name: what it is called from one execution to the next.
        seconds: how long it took.
        failure: the verdict's kind where that is a failure, "" for a success.
        error: why there is no verdict (a lost guest), "" when there is one.
        message: one line on it.
        details: the report; for a failure.
    """

    name: str
    seconds: float
    failure: str = ""
    error: str = ""
    message: str = ""
    details: str = ""


def junit(suite: str, cases: Sequence[Case]) -> bytes:
    """JUnit XML, as Jenkins, GitLab and the like read it.

    A bug is a failure, a boot without a verdict an error.
    """
    totals = {
        "name": suite,
        "tests": str(len(cases)),
        "failures": str(sum(bool(case.failure) for case in cases)),
        "errors": str(sum(bool(case.error) for case in cases)),
        "time": f"{sum(case.seconds for case in cases):.3f}",
    }
    root = ET.Element("testsuites", totals)
    element = ET.SubElement(root, "testsuite", totals)
    for case in cases:
        about = {"classname": suite, "name": case.name, "time": f"{case.seconds:.3f}"}
        one = ET.SubElement(element, "testcase", {key: _xml(text) for key, text in about.items()})
        if case.failure:
            attributes = {"type": case.failure, "message": _xml(case.message)}
            ET.SubElement(one, "failure", attributes).text = _xml(case.details)
        elif case.error:
            ET.SubElement(one, "error", {"type": "no verdict", "message": _xml(case.error)})
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def ktap(suite: str, cases: Sequence[Case]) -> str:
    """KTAP version 1 (the kernel's Documentation/dev-tools/ktap.rst): the suite, with its boots."""
    failed = any(case.failure or case.error for case in cases)
    lines = ["KTAP version 1", "1..1", "  KTAP version 1", f"  1..{len(cases)}"]
    for number, case in enumerate(cases, 1):
        lines += [f"  # {line}".rstrip() for line in case.details.splitlines()]
        lines.append(f"  {_result(number, case)}")
    lines.append(f"{'not ok' if failed else 'ok'} 1 {_word(suite)}")
    return "\n".join(lines) + "\n"


def _result(number: int, case: Case) -> str:
    name = _word(case.name)
    if case.failure:
        return f"not ok {number} {name} # {case.failure}: {_line(case.message)}"
    if case.error:
        return f"not ok {number} {name} # ERROR {_line(case.error)}"
    return f"ok {number} {name}"


def _word(text: str) -> str:
    """Return a description: it cannot hold a hash sign."""
    return _line(text).replace("#", "_")


def _line(text: str) -> str:
    return " ".join(text.split())


def _xml(text: str) -> str:
    return text.translate(ILLEGAL).encode("utf-8", "replace").decode()
