"""Every kind of verdict and every class of finding reads well, in a mail and on a page."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tests.unit.report.builders import INFO, VERDICT, checked
from tests.unit.report.kinds import FINDINGS, of_kind
from zaptrace.model.findings import FindingClass
from zaptrace.model.verdict import VerdictKind
from zaptrace.report.finding_meanings import MEANINGS
from zaptrace.report.html.page import page
from zaptrace.report.text import WIDTH, render, subject


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("kind", VerdictKind)
def test_a_verdict_of_every_kind(kind: VerdictKind) -> None:
    verdict = of_kind(kind)
    line = subject(verdict, INFO)
    # A subject: words, not the name of the kind, and not cut off.
    assert line.startswith("mm: ") and len(line) <= WIDTH and "…" not in line
    assert kind is VerdictKind.CLEAN or kind.value not in line
    text = render(verdict, INFO)
    shown = checked(page(verdict, INFO)).text
    for told in (text, shown):
        assert words(verdict.summary) in words(told)
        assert "None" not in told and kind.value in told
        for step in verdict.order:
            assert words(step.what) in words(told)
        for doubt in verdict.doubts:
            assert words(doubt) in words(told)
        for finding in verdict.proof:
            assert MEANINGS[finding.cls] in words(told)
    clean = kind is VerdictKind.CLEAN
    assert ("How to reproduce" in text) is not clean


@pytest.mark.parametrize("cls", FindingClass)
def test_a_finding_of_every_class(cls: FindingClass) -> None:
    finding = FINDINGS[cls]
    verdict = dataclasses.replace(VERDICT, pfn=finding.pfn, proof=(finding,))
    for told in (render(verdict, INFO), checked(page(verdict, INFO)).text):
        assert cls.value in told and MEANINGS[cls] in words(told)
        assert "at - " not in told and "?/?" not in told
        if finding.mappings and finding.pfn is None:
            assert "mm 0x1af4000 of " in told
        if finding.note:
            assert finding.note in words(told)


def test_the_counters_of_a_page_that_was_not_freed_are_the_audit_s() -> None:
    shown = page(of_kind(VerdictKind.PTE_LEFT_BEHIND), INFO)
    facts = re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", shown)
    assert ("mapcount", "1") in facts and ("PTEs that map it", "2") in facts
    assert not any("freed" in name for name, _ in facts)


def test_an_mm_s_counters_are_not_a_page_s() -> None:
    shown = page(of_kind(VerdictKind.RSS_MISMATCH), INFO)
    facts = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", shown))
    assert facts["mm"] == "0x1af4000" and not {"mapcount", "PTEs that map it"} & set(facts)
    assert "takes a page only when" not in shown
