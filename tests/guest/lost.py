"""pytest hooks: a test whose guest was lost has failed, but not of what it tests (DESIGN 7)."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from zaptrace.model.errors import GuestLost

_LOST = pytest.StashKey[list[str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and call.excinfo.errisinstance(GuestLost):
        report.user_properties.append(("guest", "lost"))
        item.config.stash.setdefault(_LOST, []).append(f"{item.nodeid} ({call.when})")
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Its letter and word; the category stays, so that its traceback is shown."""
    if ("guest", "lost") not in report.user_properties or not report.failed:
        return None
    return ("failed" if report.when == "call" else "error"), "L", "LOST GUEST"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lost = terminalreporter.config.stash.get(_LOST, [])
    if lost:
        terminalreporter.section("lost guests", red=True)
        terminalreporter.line(f"{len(lost)} of the failures: the guest died or did not answer")
        for name in lost:
            terminalreporter.line(f"  {name}")
