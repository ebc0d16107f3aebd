"""`zaptrace explain` of console logs: one, several, a folder, standard input, compressed."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.documents import validate
from tests.unit.triage.builders import ALLOCATED, Dump, bad_map, log
from tests.unit.triage.cases_of_oopses import IN_VMEMMAP, LISTS, oops
from zaptrace.cli.main import main

QUIET = b"[    0.000000] Linux version 6.1.0-test\n[    9.000000] reboot: Power down\n"
STATE = log(Dump(mapcount=1))
CHECKS_OFF = (
    b"[    0.000000] Linux version 6.8.0-test\n[    0.000000] Kernel command line: quiet\n"
    b"[    0.100000] mem auto-init: stack:off, heap alloc:off, heap free:off\n"
)


def explained(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any]:
    code = main(["explain", "--json", *argv])
    document = json.loads(capsys.readouterr().out)
    validate(document, "run")
    return code, document


@pytest.mark.parametrize(
    ("data", "code", "kind"),
    [
        (QUIET, 0, "clean"),
        (CHECKS_OFF, 0, "clean"),
        (STATE, 1, "unexplained"),
        (log(bad_map()), 1, "unexplained"),
        (oops(IN_VMEMMAP, "unmap_page_range", "unmap_vmas"), 1, "unexplained"),
        (oops(IN_VMEMMAP, "folio_mark_dirty", "zap_present_ptes.constprop.0"), 1, "unexplained"),
        (oops(LISTS, "__list_del_entry_valid", "free_pcppages_bulk"), 1, "unexplained"),
        (oops(IN_VMEMMAP, "folio_mark_dirty", "driver_write"), 125, "unexplained"),
        (oops(IN_VMEMMAP, "driver_open", "do_sys_open", "copy_page_range"), 125, "unexplained"),
        (oops(LISTS, "__list_del_entry_valid", "driver_dequeue"), 125, "unexplained"),
        (b"", 125, "unexplained"),
        (b"hello\nworld\n", 125, "unexplained"),
        (b"[    1.000000] Kernel panic - not syncing: Fatal exception\n", 125, "unexplained"),
    ],
)
def test_exit_status_and_verdict(
    data: bytes, code: int, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "console.log"
    path.write_bytes(data)
    found, document = explained(capsys, str(path))
    assert (found, document["verdict"]["kind"]) == (code, kind)


def test_where_page_checks_are_off_the_log_s_verdict_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "console.log"
    path.write_bytes(CHECKS_OFF)
    assert main(["explain", str(path)]) == 0
    assert "heap alloc:off, heap free:off" in " ".join(capsys.readouterr().out.split())
    path.write_bytes(CHECKS_OFF.replace(b"quiet", b"debug_pagealloc=on"))
    assert main(["explain", str(path)]) == 0
    assert "heap alloc:off" not in capsys.readouterr().out


def test_several_logs_are_explained_each_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.log").write_bytes(QUIET)
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(STATE))
    (tmp_path / "notes.md").write_text("BUG: Bad page state in process x  pfn:00001\n")
    code, document = explained(capsys, str(tmp_path))
    logs = document["logs"]
    assert code == 1
    assert [one["verdict"] for one in logs] == ["clean", "unexplained"]
    assert document["verdict"]["pfn"] == 0x1234
    both = [str(tmp_path / "a.log"), str(tmp_path / "b.log.gz")]
    assert explained(capsys, *both)[0] == 1
    # Two boots: the same page and pid there are not one story.
    (tmp_path / "a.log").write_bytes(log(bad_map(mapcount=0, pfn=0x1234)))
    assert explained(capsys, *both)[1]["verdict"]["kind"] == "unexplained"


def test_standard_input_and_html(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = log(Dump(mapcount=1, stack=ALLOCATED, task="<b>/7"))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    page = tmp_path / "bug.html"
    assert main(["explain", "-", "--format", "html", "-o", str(page)]) == 1
    text = page.read_text()
    assert 'id="triage"' in text
    assert "<b>" not in text and "&lt;b&gt;" in text
    assert "wrote" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["absent.log"], "cannot read absent.log"),
        (["."], "no log lies in it"),
        (["console.log", "--vmlinux", "absent"], "absent"),
        (["console.log", "--vmlinux", "console.log"], "console.log"),
        (["console.log", "--source", "absent"], "no such source tree"),
        (["image.log"], "zaptrace inspect"),
    ],
)
def test_bad_input_gets_one_line(
    argv: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if argv != ["."]:
        (tmp_path / "console.log").write_bytes(STATE)
        (tmp_path / "image.log").write_bytes(b"\x7fELF" + bytes(100))
    assert main(["explain", *argv]) == 2
    both = capsys.readouterr()
    assert says in both.err
    assert "Traceback" not in both.err


def test_the_kernel_s_words_are_those_of_the_report_that_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "console.log"
    entry = bad_map(pte=0xA0604020806, mapcount=None)
    path.write_bytes(log(["swap_free: Bad swap file entry 0100d400", *entry]))
    assert main(["explain", str(path)]) == 1
    printed = capsys.readouterr().out.partition("What the kernel printed")[2]
    assert "BUG: Bad page map" in printed and "swap_free" not in printed
    path.write_bytes(b"[    1.000000] kernel BUG at fs/inode.c:1337!\n")
    main(["explain", str(path)])
    assert "  kernel BUG at fs/inode.c:1337!" in capsys.readouterr().out
