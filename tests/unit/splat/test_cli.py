"""`zaptrace splat`: exit codes, JSON, and a listing that fits a terminal."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

import pytest

from tests.documents import validate
from zaptrace.cli import splat
from zaptrace.model.errors import BadInput, Exit
from zaptrace.model.splats import Splat
from zaptrace.report.splats import describe

TESTS = Path(__file__).parents[2]
GOLDEN = TESTS / "golden" / "splat"


def run(*argv: str) -> Exit:
    parser = argparse.ArgumentParser()
    splat.configure(parser)
    return splat.run(parser.parse_args(argv))


@pytest.mark.parametrize(
    ("name", "code"),
    [("s390x_6.1_crlf", Exit.BUG_FOUND), ("other_reports", Exit.OK)],
)
def test_the_exit_code_is_about_pages(
    name: str, code: Exit, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(GOLDEN / f"{name}.log")) is code
    assert all(len(line) <= 80 for line in capsys.readouterr().out.splitlines())


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", str(GOLDEN / "x86_64_6.12_callers.log")) is Exit.BUG_FOUND
    document = json.loads(capsys.readouterr().out)
    validate(document, "splat")
    assert [one["pfn"] for one in document] == [0x10A00, 0x2B3C4D]


def test_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = io.BytesIO(b"BUG: Bad page state in process sh  pfn:00001\n")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data))
    assert run("-") is Exit.BUG_FOUND
    assert "0x1" in capsys.readouterr().out


def test_nothing_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "console.log"
    log.write_text("[    0.000000] Linux version 6.1.0\n")
    assert run(str(log)) is Exit.OK
    assert capsys.readouterr().out == "No report of the kernel found.\n"


def test_what_is_no_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read"):
        run(str(tmp_path / "absent"))
    with pytest.raises(BadInput, match="cannot read"):
        run(str(tmp_path))
    for magic, hint in ((b"\x7fELF", "zaptrace inspect"), (b"\x1f\x8b", "zcat")):
        path = tmp_path / "file"
        path.write_bytes(magic + b"\0" * 64)
        with pytest.raises(BadInput) as caught:
            run(str(path))
        assert hint in (caught.value.hint or "")


def test_lines_that_no_rule_reads_are_counted_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "console.log"
    log.write_text(
        "[    1.000000] BUG: Bad page state in process sh  pfn:00001\n"
        "[    1.000001] colour of the page: mauve\n"
        "[    1.000002] page dumped because: nonzero mapcount\n"
        "[    1.000003] usb 1-1: reset\n"
    )
    run(str(log))
    assert "mauve" not in capsys.readouterr().out
    run("--verbose", str(log))
    out = capsys.readouterr().out
    assert "Not read of the report at line 1: 1 line\n  colour of the page: mauve\n" in out
    assert "usb" not in out


def test_a_report_that_stands_twice_is_counted_once_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = (
        "[    5.000000] BUG: Bad page state in process sh  pfn:00001\n"
        "[    5.000002] page dumped because: nonzero mapcount\n"
        "[    9.000003] BUG: Bad page state in process sh  pfn:00002\n"
        "[    9.000004] page dumped because: nonzero mapcount\n"
    )
    log = tmp_path / "console.log"
    log.write_text(report + "I wrote:\n" + "".join(f"> {line}\n" for line in report.splitlines()))
    run("--verbose", str(log))
    out = capsys.readouterr().out
    assert out.startswith("2 reports\n")
    assert "Not counted: 2 reports that are copies of others (lines 6, 8)\n" in out
    log.write_text(report)
    run("--verbose", str(log))
    assert "Not counted" not in capsys.readouterr().out


def test_long_lists_are_cut_and_say_so() -> None:
    splats = [Splat("bad_page_state", process="sh", pfn=at, suppressed=2) for at in range(30)]
    text = describe(splats, limit=20)
    assert "… and 10 more (--all shows them)" in text
    assert "… and 60 that the kernel says it suppressed" in text
    assert "0x1d" in describe(splats, limit=None) and "0x1d" not in text


def test_a_hostile_name_cannot_move_the_cursor() -> None:
    text = describe([Splat("bad_page_state", process="a\x1b[2J\u202e", reason="b\x07")], limit=20)
    assert "\x1b" not in text and "\u202e" not in text and "\x07" not in text
