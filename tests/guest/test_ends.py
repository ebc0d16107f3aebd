"""Guests that hang, oops and panic: their evidence is read all the same, and soon.

The kernel is the lab's, healthy; the page and the system call's code are changed from outside.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.guest import struck
from tests.guest.builders import zaptrace
from tests.guest.conftest import Boot
from zaptrace.memory.kernel_log import kernel_log
from zaptrace.memory.open import open_program
from zaptrace.runs.folder import RunFolder
from zaptrace.runs.whole_console import not_printed, whole_console

pytestmark = pytest.mark.guest
LIMIT = 120.0
"""A busy machine emulates slowly."""
HANG = "8"
"""Seconds that a hang lasts: its CPU loops on one instruction."""


def ended(healthy: Boot, folder: Path, code: str, *more: str) -> tuple[int, RunFolder, float]:
    """A boot in which a page was struck before the kernel came to its end."""
    words = ["--kernel", str(healthy.vmlinux.parent / "image"), "--run", str(folder / "run")]
    words += ["--timeout", str(LIMIT), "--stop-at", "exit", "--no-life", *more]
    began = time.monotonic()
    status = struck.repro(healthy.arch, healthy.vmlinux, *words, code=code)
    return status, RunFolder(folder / "run"), time.monotonic() - began


def explained(run: RunFolder) -> dict[str, Any]:
    """The verdict is about the struck page, and `explain` on the folder says the same."""
    said, verdict = struck.SAYS.search(run.console.read_bytes()), run.verdict()
    assert said is not None
    assert verdict is not None
    assert verdict["verdict"]["pfn"] == int(said[2], 16)
    assert run.vmcore.exists()
    again = zaptrace("explain", str(run.path), "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["verdict"] == verdict["verdict"]
    return verdict


def test_an_oops_is_explained_soon(clean_exit: Boot, tmp_path: Path) -> None:
    """Its task is gone with a lock of the init's, or without: the time limit is not reached."""
    status, run, seconds = ended(clean_exit, tmp_path, "oops")
    assert status == 1
    assert run.facts().ended in ("oops", "exit")  # the init may continue, and power off
    assert seconds < LIMIT
    explained(run)
    assert b"[#1]" in run.console.read_bytes()


def test_a_panic_is_explained_soon(clean_exit: Boot, tmp_path: Path) -> None:
    status, run, seconds = ended(clean_exit, tmp_path, "oops", "--append", "oops=panic")
    assert (status, run.facts().ended) == (1, "panic")
    assert seconds < LIMIT
    explained(run)
    log, printed = kernel_log(open_program(run.vmcore, clean_exit.vmlinux)), whole_console(run)
    assert not_printed(printed, log) == ()
    died = printed.index(b"Kernel panic - not syncing")
    assert "Kernel panic - not syncing" in not_printed(printed[:died], log)[0]
    said = zaptrace("inspect", str(run.vmcore), "--vmlinux", str(clean_exit.vmlinux)).stdout
    assert "In the dump's own kernel log: " in said and "Kernel panic - not syncing" in said


def test_a_hang_is_explained(clean_exit: Boot, tmp_path: Path) -> None:
    status, run, _ = ended(clean_exit, tmp_path, "hang", "--timeout", HANG)
    # The limit is the natural end of a root file system that is not the lab's.
    assert (status, run.facts().ended) == (1, "timeout")
    explained(run)


def test_a_hang_without_a_bug_is_no_verdict_and_keeps_its_evidence(
    arch: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    idle = ("--fault", "none", "--append", "zaptrace.do=idle", "--timeout", "20", "--no-life")
    done = zaptrace("repro", arch, *idle, "--run", str(run), "--json")
    assert done.returncode == 125
    document = json.loads(done.stdout)
    assert (document["ended"], document["verdict"]["kind"]) == ("hang", "unexplained")
    assert "hung" in document["verdict"]["summary"]
    assert (run / "vmcore").exists()
    assert RunFolder(run).facts().hung is not None
    assert zaptrace("explain", str(run)).returncode == 125
