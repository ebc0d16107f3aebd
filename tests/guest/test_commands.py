"""Commands around live guests, from the outside: `vm boot`, `vm shell`, `live --guest`."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.lab import guests_of
from zaptrace.capture.reader import read
from zaptrace.model.events import Kind

pytestmark = pytest.mark.guest

SECONDS = 400.0
"""For a guest to boot and a recorder to start in it, on a machine of many guests."""
ARGV = [sys.executable, "-m", "zaptrace"]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where the guests' sockets and disks are, and by which they are known; a short path."""
    with tempfile.TemporaryDirectory(prefix="zt-") as folder:
        yield Path(folder)
        assert guests_of(Path(folder)) == []


def environment(scratch: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(scratch)}


def run(scratch: Path, *args: str) -> subprocess.CompletedProcess[str]:
    env = environment(scratch)
    words = [*ARGV, *args]
    return subprocess.run(
        words, check=False, capture_output=True, text=True, timeout=SECONDS, env=env
    )


def test_vm_boot_runs_a_command(arch: str, scratch: Path) -> None:
    done = run(scratch, "vm", "boot", arch, "--json", "--", "uname -m; echo why >&2; exit 3")
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout) == {"status": 3, "stdout": f"{arch}\n", "stderr": "why\n"}
    assert re.search(r"See whether KVM boots a guest +\((kvm|tcg) \(.+\)\)", done.stderr)


def test_vm_shell_is_a_terminal(scratch: Path) -> None:
    keys, screen = pty.openpty()
    before = termios.tcgetattr(screen)
    argv = [*ARGV, "vm", "shell", "s390x"]
    with subprocess.Popen(
        argv, stdin=screen, stdout=screen, stderr=screen, env=environment(scratch)
    ) as child:
        try:
            drawn(keys, "Ctrl-] leaves", "# ")
            os.write(keys, b"echo it is $((40 + 2)) on $(uname -m); tty\n")
            drawn(keys, "it is 42 on s390x", "/dev/hvc0", "# ")
            os.write(keys, b"sleep 1000\n")
            drawn(keys, "sleep 1000")
            time.sleep(1)
            os.write(keys, b"\x03")  # the guest's, not ours
            drawn(keys, "# ")
            os.write(keys, b"\x1d")
            assert child.wait(SECONDS) == 0
        finally:
            child.kill()
    assert termios.tcgetattr(screen) == before
    os.close(keys)
    os.close(screen)


def drawn(screen: int, *words: str) -> None:
    """Read until all of the words have come, in this order."""
    text, deadline = "", time.monotonic() + SECONDS
    pattern = re.compile(".*".join(map(re.escape, words)), re.DOTALL)
    while not pattern.search(text):
        assert time.monotonic() < deadline, text
        if select.select([screen], [], [], 1)[0]:
            text += os.read(screen, 1 << 16).decode(errors="replace")


def test_live_of_a_guest_as_json_and_a_capture(scratch: Path) -> None:
    capture = scratch / "capture.zap"
    done = run(
        scratch,
        *("live", "--guest", "s390x", "--fault", "batch", "--source", "tracefs"),
        *("--json", "--record", str(capture), "--run", "cat /proc/self/comm"),
    )
    assert done.returncode == 1, done.stderr  # bad pages were seen
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    recorded = read(capture)
    names = [Kind(kind).name.lower() for kind in recorded.records["kind"].tolist()]
    assert [line["kind"] for line in lines] == names
    assert {"zap", "rmap_remove", "bad_page"} <= set(names)
    assert "cat" in {line.get("comm") for line in lines}
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_the_guest_and_leaves_a_whole_capture(scratch: Path) -> None:
    capture, out, errors = scratch / "capture.zap", scratch / "out", scratch / "errors"
    argv = [*ARGV, "live", "--guest", "s390x", "--source", "tracefs", "--no-tui"]
    argv += ["--record", str(capture)]
    with out.open("wb") as lines, errors.open("wb") as words:
        child = subprocess.Popen(argv, stdout=lines, stderr=words, env=environment(scratch))
    try:
        deadline = time.monotonic() + SECONDS
        while len(out.read_bytes().splitlines()) < 2:
            assert child.poll() is None and time.monotonic() < deadline, errors.read_text()
            time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        assert child.wait(SECONDS) == 0, errors.read_text()  # a healthy kernel
    finally:
        child.kill()
        child.wait()
    assert "Traceback" not in errors.read_text()
    header, *rows = out.read_text().splitlines()
    assert header.split()[:2] == ["time", "cpu"]
    recorded = read(capture)
    assert not recorded.meta.get("damaged_frames")
    assert len(recorded.records) == len(rows)
