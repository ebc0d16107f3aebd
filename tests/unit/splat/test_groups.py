"""Fingerprints, groups of many logs, and what a CI gets."""

from __future__ import annotations

import gzip
import json
import lzma
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.documents import validate
from tests.unit.triage.builders import ALLOCATED, FREED, Dump, bad_map, log
from zaptrace.cli.main import main
from zaptrace.splat import parse
from zaptrace.triage.fingerprint import fingerprint

TESTS = Path(__file__).parents[2]
WARNING = b"[    2.000000] WARNING: CPU: 0 PID: 1 at kernel/x.c:7 y+0x1/0x2\n"


def mark(data: bytes) -> str:
    (splat,) = parse(data)
    return fingerprint(splat)


SAME = [
    log(Dump(mapcount=1)),
    log(Dump(pfn=0xABCDE, mapcount=1, task="other/99", release="6.1.0-other"), start=99),
    log(Dump(mapcount=1)).replace(b"+0x10/0x100", b"+0xa7/0x330"),
    log(Dump(mapcount=1, flags="referenced|dirty|node=1")),
]
OTHER = [
    log(Dump(mapcount=1, stack=(*FREED[:4], "another_caller", "outer"))),
    log(Dump(mapcount=1, reason="nonzero _refcount", refcount=1)),
    log(Dump(mapcount=1, flags="reserved|node=1")),
    log(Dump(mapcount=1, stack=ALLOCATED)),
    log(bad_map()),
    log(
        Dump(
            mapcount=1,
            extra=[
                "page_owner tracks the page as freed",
                "page last free pid 3999 tgid 3999 stack trace:",
                " free_caller_one+0x55/0x66",
            ],
        )
    ),
]


def test_a_fingerprint_identifies_the_bug_not_the_page() -> None:
    assert len({mark(data) for data in SAME}) == 1
    marks = [mark(data) for data in (SAME[0], *OTHER)]
    assert len(set(marks)) == len(marks)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "WARNING: CPU: 1 PID: 2 at mm/a.c:7 f+0x1/0x2",
            "WARNING: CPU: 3 PID: 44 at mm/a.c:9 f+0x9/0x22",
        ),
        (
            "WARNING: mm/a.c:7 at f+0x1/0x2, CPU#3: a b/7",
            "WARNING: mm/a.c:8 at f+0x3/0x2, CPU#44: c/8",
        ),
        (
            "mm/memory.c:397: bad pmd 000000040011104d.",
            "mm/memory.c:399: bad pmd 00000004abcdeff1.",
        ),
        (
            "_swap_info_get: Bad swap file entry 40101010a050609",
            "_swap_info_get: Bad swap file entry 5",
        ),
        (
            "BUG: Bad rss-counter state mm:00000000aa11bb22 type:MM_ANONPAGES val:1",
            "BUG: Bad rss-counter state mm:00000000cc11bb22 type:MM_ANONPAGES val:9",
        ),
        (
            "BUG: unable to handle page fault for address: ffff888101010101",
            "BUG: unable to handle page fault for address: ffffea0012345678",
        ),
    ],
)
def test_numbers_make_no_other_fingerprint(one: str, other: str) -> None:
    first, second = (mark(f"[    1.000000] {text}\n".encode()) for text in (one, other))
    assert first == second
    assert first != mark(WARNING)


def syslog(data: bytes, host: str) -> bytes:
    lines = data.decode().splitlines()
    return "".join(f"Mar 05 09:07:35 {host} kernel: {line}\n" for line in lines).encode()


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Six hosts: one bug on four with one kernel; one bit again and again on one."""
    for number in range(4):
        report = log(Dump(pfn=0x100 + number, mapcount=1, task=f"t/{number + 1}"))
        (tmp_path / f"host{number}.log").write_bytes(syslog(report, f"host{number}"))
    for number in range(3):
        report = log(Dump(pfn=7 + number, refcount=1 << 20, reason="nonzero _refcount"))
        (tmp_path / f"weak-{number}.log").write_bytes(syslog(report, "weak"))
    (tmp_path / "quiet.log").write_text("[    0.000000] Linux version 6.1.0\n")
    return tmp_path


def test_groups_say_on_which_hosts_and_kernels(
    fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = sorted(str(path) for path in fleet.glob("*.log"))
    assert main(["splat", "--group", "--json", *logs]) == 1
    first, second = json.loads(capsys.readouterr().out)
    assert first["hosts"] == ["host0", "host1", "host2", "host3"]
    assert first["kernels"] == ["6.1.0-test"]
    assert (first["count"], len(first["logs"])) == (4, 4)
    assert any("regression" in note for note in first["notes"])
    assert (second["hosts"], second["count"]) == (["weak"], 3)
    assert any("Bit 20" in note and "one host" in note for note in second["notes"])
    assert main(["splat", "--group", str(fleet)]) == 1
    text = capsys.readouterr().out
    assert text.startswith("2 fingerprints in 8 logs\n")
    assert all(len(line) <= 80 for line in text.splitlines())


def test_one_host_is_not_said_where_a_log_names_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.log").write_bytes(syslog(SAME[0], "box"))
    (tmp_path / "b.log").write_bytes(SAME[1])
    assert main(["splat", "--group", "--json", str(tmp_path)]) == 1
    (group,) = json.loads(capsys.readouterr().out)
    assert group["hosts"] == ["box"]
    assert not any("One host" in note or "hosts" in note for note in group["notes"])


def test_several_logs_are_one_flat_list(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = sorted(str(path) for path in fleet.glob("*.log"))
    assert main(["splat", "--json", *logs]) == 1
    document = json.loads(capsys.readouterr().out)
    validate(document, "splat")
    assert [one["log"] for one in document] == [name for name in logs if "quiet" not in name]
    assert all(len(one["fingerprint"]) == 12 for one in document)
    assert main(["splat", *logs]) == 1
    assert "1 log without a report" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "options", "code"),
    [
        (WARNING, [], 0),
        (WARNING, ["--fail-on", "bug"], 0),
        (WARNING, ["--fail-on", "warning"], 1),
        (WARNING, ["--fail-on", "any"], 1),
        (WARNING, ["--fail-on", "bug,warning"], 1),
        (SAME[0], [], 1),
        (SAME[0], ["--fail-on", "bug"], 1),
        (SAME[0], ["--fail-on", "any"], 1),
        (b"[    1.000000] Kernel panic - not syncing: x\n", ["--fail-on", "bug"], 1),
        (b"[    1.000000] Kernel panic - not syncing: x\n", [], 0),
        (b"[    1.000000] all is well\n", ["--fail-on", "any"], 0),
    ],
)
def test_what_fails_a_ci(data: bytes, options: list[str], code: int, tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    path.write_bytes(data)
    junit, ktap = tmp_path / "x.xml", tmp_path / "x.ktap"
    files = ["--junit", str(junit), "--ktap", str(ktap)]
    assert main(["splat", str(path), *options, *files]) == code
    suite = ET.parse(junit).getroot()
    assert suite.get("failures") == str(code)
    assert ktap.read_text().splitlines()[-1].startswith("not ok 1" if code else "ok 1")


def test_an_unknown_class(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["splat", "--fail-on", "oops", "x"])
    assert left.value.code == 2
    assert "bug, warning, any" in capsys.readouterr().err


def test_compressed_logs_are_read_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(SAME[0]))
    (tmp_path / "b.log.xz").write_bytes(lzma.compress(SAME[0]))
    wanted = 2
    if shutil.which("zstd"):
        subprocess.run(
            ["zstd", "-qc"], input=SAME[0], check=True, stdout=(tmp_path / "c.log.zst").open("wb")
        )
        wanted = 3
    assert main(["splat", "--json", str(tmp_path)]) == 1
    assert len(json.loads(capsys.readouterr().out)) == wanted
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(SAME[0] * 50)[:-40])
    assert main(["splat", str(tmp_path / "a.log.gz")]) == 2
    assert "damaged" in capsys.readouterr().err


def test_without_zstd_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.log.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(50))
    monkeypatch.setattr("shutil.which", lambda _name: None)
    assert main(["splat", str(tmp_path / "c.log.zst")]) == 2
    assert "apt install zstd" in capsys.readouterr().err


def test_one_unreadable_log_does_not_hide_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.log").write_bytes(SAME[0])
    (tmp_path / "b.log.gz").write_bytes(b"\x1f\x8b" + bytes(50))
    junit = tmp_path / "x.xml"
    assert main(["splat", str(tmp_path), "--junit", str(junit)]) == 1
    both = capsys.readouterr()
    assert "0x1234" in both.out
    assert "b.log.gz" in both.err
    assert ET.parse(junit).getroot().get("errors") == "1"
    (tmp_path / "a.log").write_text("[    1.000000] fine\n")
    assert main(["splat", str(tmp_path)]) == 2
