"""`zaptrace replay`: what it opens, what it prints, what it refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from zaptrace import demo
from zaptrace.capture.writer import write
from zaptrace.cli.main import main
from zaptrace.model.events import Events, Kind, blank


def capture(path: Path, *kinds: Kind, lost: int = 0) -> Path:
    records = blank(len(kinds))
    records["kind"] = np.array(kinds, np.uint8)
    records["clock"] = np.arange(len(kinds)) * 1_000_000 + 5_000_000_000
    records["comm"], records["pid"], records["cpu"] = b"zapwork", 7, 0
    records["pfn"] = 0xA80
    records["nr"][records["kind"] == Kind.LOST] = lost
    write(path, Events(records, meta={"arch": "s390x"}))
    return path


@pytest.fixture
def bug(tmp_path: Path) -> Path:
    return capture(tmp_path / "capture.zap", Kind.ZAP, Kind.RMAP_REMOVE, Kind.BAD_PAGE)


def run(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "zaptrace", "replay", *args]
    return subprocess.run(argv, check=False, input=stdin, capture_output=True, timeout=60)


def test_lines(bug: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(bug), "--no-tui"]) == 1  # there is a bug in it
    out, err = capsys.readouterr()
    header, *lines = out.splitlines()
    assert header.split()[:4] == ["time", "cpu", "task", "event"]
    assert [line.split()[3] for line in lines] == ["zap", "rmap_remove", "!"]
    assert err == ""


def test_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = capture(tmp_path / "capture", Kind.ZAP, Kind.LOST, lost=5)
    assert main(["replay", str(path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["kind"] for line in out.splitlines()] == ["zap", "lost"]
    assert "LOST: 5 events" in err


def test_a_run_is_opened_by_its_folder(bug: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bug.parent / "run.json").write_text("{}")
    assert main(["replay", str(bug.parent), "--json"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 3
    bug.unlink()
    assert main(["replay", str(bug.parent), "--json"]) == 2
    assert "has no events" in capsys.readouterr().err


def test_speed_takes_its_time(bug: Path, capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    assert main(["replay", str(bug), "--json", "--speed", "0.02"]) == 1  # 2 ms in 0.1 s
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert time.monotonic() - started >= 0.1


def test_ctrl_c_ends_the_printing_and_nothing_is_torn(bug: Path) -> None:
    argv = [sys.executable, "-m", "zaptrace", "replay", str(bug), "--json", "--speed", "0.000001"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout
        assert json.loads(child.stdout.readline())["kind"] == "zap"  # the next is 1,000 s away
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
    assert (child.returncode, out, err) == (0, b"", b"")  # the bug was not reached


@pytest.mark.parametrize("speed", ["0", "-1", "nan", "inf", "fast"])
def test_an_invalid_speed_is_a_usage_error(speed: str, bug: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(bug), "--speed", speed])
    assert ended.value.code == 2


def test_standard_input_and_a_torn_tail(bug: Path) -> None:
    done = run("-", "--json", stdin=bug.read_bytes()[:-1])
    assert done.returncode == 0
    assert done.stdout == b""
    assert b"standard input ended in the middle of a frame" in done.stderr
    assert b"1 damaged frame" in done.stderr


def test_a_reader_that_has_seen_enough_ends_it_quietly(tmp_path: Path) -> None:
    path = capture(tmp_path / "capture", *[Kind.ZAP] * 20_000)
    command = f"{sys.executable} -m zaptrace replay {path} --no-tui | head -n 2"
    done = subprocess.run(command, check=False, shell=True, capture_output=True, timeout=60)  # noqa: S602
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == b""


def test_without_an_argument_it_opens_what_ships(
    bug: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "CAPTURE", str(bug))  # an absolute path stays what it is
    assert main(["replay", "--json"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 3
    bug.unlink()
    assert main(["replay", "--json"]) == 2
    assert "the shipped capture is not there" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["notes.txt", "--no-tui"], "notes.txt: not a zaptrace capture"),
        (["nowhere", "--no-tui"], "No such file or directory: nowhere"),
        (["."], "is not a run folder"),
        (["capture.zap"], "the TUI needs a terminal"),
        (["-"], "cannot play standard input"),
        (["capture.zap", "--filter", "pid=1"], "--filter is for printed lines"),
    ],
)
def test_what_it_cannot_use(
    args: list[str],
    says: str,
    bug: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(bug.parent)
    Path("notes.txt").write_text("hello, this is no capture")
    monkeypatch.setattr("sys.stdin", sys.__stdin__)
    if args == ["."]:
        args = [".", "--json"]
    assert main(["replay", *args]) == 2
    out, err = capsys.readouterr()
    assert says in " ".join(err.split())
    assert out == ""
