"""`zaptrace repro --repeat` from the outside: many guests, counted, and none left running."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.guest.lab import guests_of

pytestmark = pytest.mark.guest


def repeat(folder: Path, *args: str) -> list[str]:
    argv = [sys.executable, "-m", "zaptrace", "repro", "s390x", "--json", "--run", str(folder)]
    return [*argv, "--timeout", "300", *args]  # `args` may say another limit


def test_boots_are_counted_each_in_its_own_run_folder(tmp_path: Path) -> None:
    junit, ktap, runs = tmp_path / "boots.xml", tmp_path / "boots.ktap", tmp_path / "runs"
    argv = repeat(runs, "--repeat", "3", "--jobs", "2", "--junit", str(junit), "--ktap", str(ktap))
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert (found["boots"], found["hits"], found["lost"]) == (3, 3, 0)
    assert found["bugs"] == {"freed_before_rmap_removed in try_zap_anon_pte_range()": 3}
    assert [Path(one["run"]).name for one in found["runs"]] == ["boot-001", "boot-002", "boot-003"]
    assert all((Path(one["run"]) / "vmcore").exists() for one in found["runs"])
    assert ET.fromstring(junit.read_bytes()).get("failures") == "3"
    assert "\n  not ok 3 boot_3 # freed_before_rmap_removed: " in ktap.read_text()


def test_a_boot_that_hangs_is_lost_and_not_clean(tmp_path: Path) -> None:
    idle = ("--fault", "none", "--append", "zaptrace.do=idle", "--timeout", "5")
    argv = repeat(tmp_path / "runs", "--repeat", "2", *idle)
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 125, done.stderr
    found = json.loads(done.stdout)
    assert (found["hits"], found["lost"], found["rate"]) == (0, 2, None)
    assert "hung" in found["runs"][0]["summary"]


def test_an_interrupt_leaves_no_guest(tmp_path: Path) -> None:
    idle = ("--fault", "none", "--append", "zaptrace.do=idle", "--timeout", "600")
    argv = repeat(tmp_path, "--repeat", "50", "--jobs", "2", "--stop-at", "never", *idle)
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while len(guests_of(tmp_path)) < 2:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 125, err
    assert out == ""
    assert "Traceback" not in err
    deadline = time.monotonic() + 10  # the kernel takes their memory apart
    while left := guests_of(tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
