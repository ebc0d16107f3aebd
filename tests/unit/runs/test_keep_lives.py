"""Which pages' lives a run keeps."""

from __future__ import annotations

from tests.unit.explain.kernel import events_of
from zaptrace.model.events import Kind, Origin
from zaptrace.model.findings import AuditResult, Finding, FindingClass
from zaptrace.model.splats import Splat
from zaptrace.runs.keep_lives import MOST_PAGES, suspects

STOP, QUIET = 0x9999, 0x7777


def test_the_page_of_the_stop_is_kept_however_many_others_are_wrong() -> None:
    rows = [{"kind": Kind.BAD_PTE, "pfn": pfn} for pfn in range(1000)]
    rows += [{"kind": Kind.BAD_PAGE, "pfn": pfn} for pfn in range(2000, 3000)]
    rows += [{"kind": Kind.BAD_PAGE, "pfn": STOP, "origin": Origin.REGISTERS}]
    finding = Finding(FindingClass.MAPPED_BUT_FREE, QUIET, 1, 0, 0)
    pfns = suspects(events_of(rows), AuditResult("6.12", 1, 1, 1, 0.0, findings=(finding,)), ())
    assert pfns[0] == STOP
    assert {QUIET, 2000, 0} <= set(pfns)  # some of each
    assert len(pfns) == MOST_PAGES
    assert suspects(None, None, ()) == ()


def test_a_page_that_the_console_reports_is_kept_however_many_the_audit_finds() -> None:
    """Two huge pages that a fork did not count: one is at the BUG, the audit finds the other's."""
    found = tuple(Finding(FindingClass.MAPPED_BUT_FREE, pfn, 1, 0, 0) for pfn in range(1000))
    audit = AuditResult("6.1", 1, 1, 1, 0.0, findings=found)
    pfns = suspects(None, audit, [Splat("kernel_bug", pfn=QUIET)])
    assert pfns[0] == QUIET and len(pfns) == MOST_PAGES
