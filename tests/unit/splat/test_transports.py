"""Every kind of report on every way to a file is read whole."""

from __future__ import annotations

import pytest

from tests.unit.splat.builders import misread
from tests.unit.splat.kinds_of_reports import REPORTS
from tests.unit.splat.transports import TRANSPORTS
from zaptrace.splat.kinds import KINDS

_EACH = ["bad_page_state, page_owner", "bad_page_map", "vm_bug_on", "two reports of one task"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_report_is_read_whole(transport: str) -> None:
    dress = TRANSPORTS[transport]
    wrong = {name: misread(dress(lines), wanted) for name, (lines, wanted) in REPORTS.items()}
    assert {name: one for name, one in wrong.items() if one} == {}


def test_no_kind_of_the_table_is_left_out() -> None:
    told = {keys["kind"] for _, wanted in REPORTS.values() for keys in wanted}
    assert told == {kind.name for kind in KINDS}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_log_of_all_reports_is_read_like_each(transport: str) -> None:
    lines = [line for report, _ in REPORTS.values() for line in [*report, "usb 1-1: reset"]]
    wanted = [keys for _, wanted in REPORTS.values() for keys in wanted]
    assert misread(TRANSPORTS[transport](lines), wanted) == []
