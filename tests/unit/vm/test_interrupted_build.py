"""A kernel build that is interrupted, with tools that only play at building."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PATIENCE = 60.0
TOOLS = {
    "dpkg-deb": 'mkdir -p "$3/usr/src"; touch "$3/usr/src/linux-source-6.1.tar.xz"',
    "tar": ":",
    "patch": ":",
    "s390x-linux-gnu-gcc": "echo a compiler",
    # Configured as asked; then a compiler that never ends, as one of its children.
    "make": """
for word; do
	case "$word" in
	KCONFIG_ALLCONFIG=*) exec cp "${word#*=}" "$tree/.config" ;;
	/*) tree=$word ;;
	esac
done
sleep 1000 &
echo "$$ $!" >"$PIDS.new"
mv "$PIDS.new" "$PIDS"
echo "  CC      mm/memory.o"
wait""",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_process_and_no_half_kernel_is_left(tmp_path: Path, number: signal.Signals) -> None:
    tools, pids, cache = tmp_path / "bin", tmp_path / "pids", tmp_path / "zaptrace"
    tools.mkdir()
    for name, script in TOOLS.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    host = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, check=True)
    debs = cache / "debs" / f"bookworm-{host.stdout.decode().strip()}"
    debs.mkdir(parents=True)
    (debs / "linux-source-6.1_6.1.0-1_all.deb").touch()
    argv = [sys.executable, "-m", "zaptrace", "vm", "kernel", "build", "s390x"]
    changed = {"PATH": f"{tools}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path)}
    environment = {**os.environ, **changed, "PIDS": str(pids)}
    with subprocess.Popen(argv, stderr=subprocess.PIPE, env=environment, text=True) as child:
        wait_until(lambda: pids.exists() or child.poll() is not None)
        assert child.poll() is None, child.communicate()[1]
        child.send_signal(number)
        _, errors = child.communicate(timeout=PATIENCE)
    assert child.returncode == 125
    assert "interrupted" in errors
    assert "Traceback" not in errors
    wait_until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))
    assert [path.name for path in (cache / "kernels").iterdir()] == [".lock-s390x"]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process still runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
