"""pytest hooks: a test whose guest was lost has failed, but not of what it tests."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from zaptrace.model.errors import GuestLost

_LOST = ("guest", "lost")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and call.excinfo.errisinstance(GuestLost):
        report.user_properties.append(_LOST)
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Its letter and word; the category stays, so that its traceback is shown."""
    if not _is_lost(report):
        return None
    return ("failed" if report.when == "call" else "error"), "L", "LOST GUEST"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    stats = terminalreporter.stats
    lost = [
        report for report in stats.get("failed", []) + stats.get("error", []) if _is_lost(report)
    ]
    if lost:
        terminalreporter.section("lost guests", red=True)
        terminalreporter.line(f"{len(lost)} of the failures: the guest died or did not answer")
        for report in lost:
            terminalreporter.line(f"  {report.nodeid} ({report.when})")


def _is_lost(report: pytest.TestReport) -> bool:
    return report.failed and _LOST in report.user_properties
