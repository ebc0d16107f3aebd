"""Logs of which the newest line stands first."""

from __future__ import annotations

import pytest

from tests.unit.splat.builders import misread
from tests.unit.splat.kinds_of_reports import REPORTS
from zaptrace.report.splat_excerpt import excerpt
from zaptrace.splat import parse
from zaptrace.splat.newest_first import is_newest_first

OF_SEVERAL_LINES = [name for name, (lines, _) in REPORTS.items() if len(lines) > 3]


@pytest.mark.parametrize(
    "name", sorted({*OF_SEVERAL_LINES} - {"bad_page_table", "other", "vm_bug_on, VMA"})
)
def test_a_journal_without_stamps_is_turned(name: str) -> None:
    """journalctl -r prints seconds, which are the same for a whole report."""
    lines, wanted = REPORTS[name]
    log = "".join(f"Mar 05 09:07:35 box kernel: {line}\n" for line in reversed(lines)).encode()
    assert misread(log, wanted) == []


def test_its_lines_are_those_of_the_file() -> None:
    lines, _ = REPORTS["bad_page_map"]
    log = "\n".join(["newer", *reversed(lines), "older"]).encode()
    (splat,) = parse(log)
    assert splat.line == 1 + len(lines)
    assert excerpt(log, splat)[0] == lines[0]


@pytest.mark.parametrize(
    "log",
    [
        b"",
        b"[    2.000000] a\n[    1.000000] b\n[    3.000000] c\n",
        b"[    9.000000] reboot: Restarting system\n[    0.000000] Linux version 6.1\n",
        b"Hardware name: a\n" * 9,
    ],
)
def test_others_are_left_alone(log: bytes) -> None:
    assert not is_newest_first(log)
