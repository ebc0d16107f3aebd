"""How long a command takes to start, above what Python alone takes; each beside `python -c pass`.

The two take turns, and the median of their differences counts: so a machine that is busy with
other things slows both.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.limits import judged

RUNS = 11
PATIENCE = 60.0
PEER = "python -c pass"
_ROOT = Path(__file__).parents[2]
_PYTHON = [sys.executable, "-c", "pass"]
_ZAPTRACE = str(Path(sys.executable).with_name("zaptrace"))
_SMALL_LOG = _ROOT / "tests/golden/splat/other_reports.log"
_PAINTED = b"Events by kind"


def rows() -> Iterator[dict[str, object]]:
    """Yield the rows of `command_start`."""
    yield _row("--help", 0.1, lambda: _to_the_end([_ZAPTRACE, "--help"]))
    splat = [_ZAPTRACE, "splat", str(_SMALL_LOG)]
    yield _row("splat on a small log", 0.2, lambda: _to_the_end(splat))
    yield _row("replay to its first paint", 0.7, lambda: _to_paint([_ZAPTRACE, "replay"]))


def _row(measure: str, limit: float, seconds: Callable[[], float]) -> dict[str, object]:
    seconds()  # the first one compiles modules and reads files from disk
    pairs = [(seconds(), _to_the_end(_PYTHON)) for _ in range(RUNS)]
    above = statistics.median(ours - peer for ours, peer in pairs)
    row: dict[str, object] = {
        "name": "command_start",
        "measure": measure,
        "value": above,
        "unit": "s",
        "peer": PEER,
        "peer_value": statistics.median(peer for _, peer in pairs),
        "conditions": f"above Python's own start, from outside, warm; median of {RUNS} pairs",
    }
    return judged(row, f"at most {limit} s", met=above <= limit)


def _to_the_end(command: list[str]) -> float:
    started = time.perf_counter()
    # splat ends with 1: the log holds reports
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=PATIENCE, check=False)
    return time.perf_counter() - started


def _to_paint(command: list[str]) -> float:
    """Return the seconds until a full-screen command has drawn its events in a terminal."""
    started = time.perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        os.execve(command[0], command, environment)
    try:
        drawn = b""
        while _PAINTED not in drawn:
            left = started + PATIENCE - time.perf_counter()
            if not select.select([terminal], [], [], max(left, 0))[0]:
                raise TimeoutError(f"{' '.join(command)} drew nothing in {PATIENCE:.0f} s")
            drawn += os.read(terminal, 1 << 16)
        return time.perf_counter() - started
    finally:
        os.write(terminal, b"q")
        _until_closed(terminal)
        os.close(terminal)
        os.waitpid(child, 0)


def _until_closed(terminal: int) -> None:
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while os.read(terminal, 1 << 16):
            pass
