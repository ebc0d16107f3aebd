"""Live events of real kernels: through bcc and through tracefs, here and out of a guest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from tests.guest.builders import FAULT, PAGE_SIZE, PAGES, ROUNDS, Lines, removed_in_each_zap, touch
from tests.guest.lab import READY_SECONDS, Lab, Recording, guests_of
from zaptrace.explain.suspects import Suspects
from zaptrace.model.errors import CannotTell
from zaptrace.model.events import Kind
from zaptrace.model.progress import ignore
from zaptrace.runs.watched_guest import watched_guest
from zaptrace.splat import parse

pytestmark = pytest.mark.guest

MOST_LINES = 10_000
"""Lines in which a test finds what it waits for, or fails."""


def touched_and_nothing_lost(
    lab: Lab, options: str, pages: int = PAGES, rounds: int = ROUNDS
) -> tuple[Recording, int]:
    """A recording of all that happens while pages are touched and unmapped; who did that.

    An interrupt inside a probe may lose its own events, which is reported: then again.
    """
    for _ in range(3):
        recording, pid = lab.recorded(options, lambda: touch(lab, pages, rounds))
        assert recording.status == 0, recording.errors
        if "LOST" not in recording.errors:
            return recording, pid
    pytest.fail(f"three times in a row: {recording.errors}")


@pytest.mark.parametrize("source", ["bcc", "tracefs"])
def test_exactly_23_pages(live_lab: Lab, source: str) -> None:
    recording, pid = touched_and_nothing_lost(live_lab, f"--source {source}")
    assert removed_in_each_zap(recording.lines, pid, PAGES) == [PAGES] * ROUNDS
    assert removed_in_each_zap(recording.replayed, pid, PAGES) == [PAGES] * ROUNDS
    assert recording.replayed == recording.lines


@pytest.mark.parametrize("source", ["bcc", "tracefs"])
def test_each_page_is_named_once_and_was_mapped_once(live_lab: Lab, source: str) -> None:
    recording, pid = touched_and_nothing_lost(live_lab, f"--source {source} --comm touch", 64, 1)
    assert {line["comm"] for line in recording.lines} == {"touch"}
    (zap,) = [
        number
        for number, line in enumerate(recording.lines)
        if line["kind"] == "zap" and line["end"] - line["addr"] == 64 * PAGE_SIZE
    ]
    end = recording.lines[zap]["end"]
    # A range may be zapped in parts, each of which is reported.
    others = [line for line in recording.lines[zap + 1 :] if line.get("end") != end]
    removals = others[:64]
    assert {line["kind"] for line in removals} == {"rmap_remove"}
    assert {line["pid"] for line in removals} == {pid}
    assert len({line["pfn"] for line in removals}) == 64
    assert {line["mapcount"] for line in removals} == {1}


def test_bcc_filters_in_the_kernel(live_lab: Lab) -> None:
    """The program's text is file pages: what is left of its exit is anonymous."""
    every, _ = live_lab.recorded("--comm touch", lambda: touch(live_lab))
    assert every.status == 0, every.errors
    anonymous, other = live_lab.recorded("--comm touch --anonymous", lambda: touch(live_lab))
    assert removed_in_each_zap(anonymous.lines, other, PAGES) == [PAGES] * ROUNDS

    def removals(lines: Lines) -> int:
        return sum(line["kind"] == "rmap_remove" for line in lines)

    assert PAGES * ROUNDS < removals(anonymous.lines) < removals(every.lines)
    large, _ = live_lab.recorded("--comm touch --large-only", lambda: touch(live_lab))
    assert removals(large.lines) == 0
    assert any(line["kind"] == "zap" for line in large.lines)


@pytest.mark.parametrize("number", ["INT", "TERM", "KILL"])
def test_nothing_is_left_in_tracefs(live_lab: Lab, number: str) -> None:
    left = "ls /sys/kernel/tracing/instances; cat /sys/kernel/tracing/kprobe_events"
    live_lab.output("rm -f /run/capture")
    live_lab.output("zaptrace record /run/capture --source tracefs >/dev/null 2>&1 &")
    live_lab.until("grep -q '\"sites\"' /run/capture")
    assert "zaptrace_" in live_lab.output(left)
    # Interrupted is the command that was typed; a shell starts what it does not wait for with
    # SIGINT ignored, and `zaptrace record` ends by it all the same.
    whom = "python3" if number == "KILL" else "zaptrace"
    live_lab.output(f"pkill -{number} -x {whom}")
    live_lab.until("! pgrep -x python3", 60)
    if number == "KILL":
        assert "zaptrace_" in live_lab.output(left)
        done = live_lab.run("zaptrace record /run/second --source tracefs --seconds 1")
        assert done.status == 0, done.err
    assert live_lab.output(left) == ""
    replayed = live_lab.run("zaptrace replay /run/capture --json")
    assert replayed.status == 0, replayed.err


def test_without_bcc_tracefs_is_taken_and_it_is_said(live_lab: Lab) -> None:
    hidden = "mount -t tmpfs none /usr/lib/python3/dist-packages/bcc"
    live_lab.output(hidden)
    try:
        done = live_lab.run("zaptrace record /run/capture --seconds 1")
        refused = live_lab.run("zaptrace record /run/capture --seconds 1 --source bcc")
    finally:
        live_lab.output("umount /usr/lib/python3/dist-packages/bcc")
    assert done.status == 0
    assert "tracefs instead of bcc" in done.err
    assert refused.status == 2
    assert "bcc" in refused.err


def test_who_is_not_root_gets_a_clear_error(live_lab: Lab) -> None:
    for source in ("bcc", "tracefs"):
        command = f"setpriv --reuid=1000 env HOME=/tmp zaptrace live --no-tui --source {source}"
        done = live_lab.run(command)
        assert done.status == 2, done
        assert "Traceback" not in done.err
        assert "root" in done.err or "sudo" in done.err, done.err


def test_a_guest_is_watched_from_outside(arch: str) -> None:
    """The pages that the splats name are the pages that the suspects name."""
    for _ in range(3):  # an interrupt that comes into a probe may lose its own events
        suspects, lost, console = watched_while_it_goes_wrong(arch)
        if not lost:
            break
    reports = (splat for splat in parse(console.encode()) if splat.kind == "bad_page_state")
    # The console may have been read in the middle of the last one's first line.
    named = {splat.pfn for splat in reports if splat.pfn is not None}
    assert named
    assert (lost, suspects.unlisted) == (0, 0)
    assert named <= {row.pfn for row in suspects.ranking(10_000)}


def watched_while_it_goes_wrong(arch: str) -> tuple[Suspects, int, str]:
    """The suspects, how many events were lost, and the console."""
    suspects, lost = Suspects(), 0
    # Not from the boot on: of the reports a minute is allowed, all would be spent by now.
    command = f"echo batch >{FAULT}; cat /proc/version; echo none >{FAULT}"
    with watched_guest(arch, ignore, fault="none", run=command) as guest:
        deadline = time.monotonic() + 2 * READY_SECONDS
        while not guest.finished():
            assert time.monotonic() < deadline
            events = guest.source.read(0.5)
            assert events is not None
            suspects.add(events)
            lost += int(events.records["nr"][events.records["kind"] == Kind.LOST].sum())
        return suspects, lost, guest.console()


def test_a_clean_guest_has_no_suspects(arch: str) -> None:
    suspects = Suspects()
    events_seen = 0
    with watched_guest(arch, ignore, fault="none", run="ls -lR /usr >/dev/null") as guest:
        deadline = time.monotonic() + 2 * READY_SECONDS
        while not guest.finished():
            assert time.monotonic() < deadline
            events = guest.source.read(0.5)
            assert events is not None
            events_seen += len(events.records)
            suspects.add(events)
    assert events_seen > 50
    assert suspects.ranking(10) == ()


@pytest.mark.parametrize("moment", ["booted", "recording", "running"])
def test_a_guest_that_dies_is_reported(arch: str, moment: str, tmp_path: Path) -> None:
    words = ("live", "--guest", arch, "--no-tui", "--run", "echo begun; while :; do ls /; done")
    child = subprocess.Popen(
        [sys.executable, "-m", "zaptrace", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert child.stdout and child.stderr
    awaited = "user space" if moment == "booted" else "Start the recorder"
    while awaited not in (line := child.stderr.readline()):
        assert line, "ended too soon"
    if moment == "running":
        next(line for line in islice(child.stdout, MOST_LINES) if " ls/" in line)
    for process in guests_of(tmp_path):
        os.kill(int(Path(process).parent.name), signal.SIGKILL)
    _, errors = child.communicate(timeout=READY_SECONDS)
    assert child.returncode == 125, errors
    assert "guest" in errors.splitlines()[-1]
    assert moment == "booted" or "QEMU ended by itself with status -9" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


POWER_OFF = "python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x4321FEDC)'"


def test_a_guest_that_powers_off_is_reported(arch: str) -> None:
    with (
        watched_guest(arch, ignore, fault="none", run=POWER_OFF) as guest,
        pytest.raises(CannotTell, match="has powered off or rebooted; its console ends with"),
    ):
        while not guest.finished():
            guest.source.read(0.5)


def test_a_guest_that_hangs_is_reported(
    arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its QEMU lives on and says nothing: here it is stopped, which leaves no other trace."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("zaptrace.runs.watched_guest.PATIENCE_SECONDS", 30.0)
    with watched_guest(arch, ignore, fault="none") as guest:
        while not ((events := guest.source.read(1.0)) and len(events.records)):
            pass
        (process,) = guests_of(tmp_path)
        os.kill(int(Path(process).parent.name), signal.SIGSTOP)
        with pytest.raises(CannotTell, match=r"no answer in \d+ s to: (grep|programs)"):
            while True:
                guest.source.read(0.5)
    assert list(tmp_path.iterdir()) == []
