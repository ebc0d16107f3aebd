"""Runs in a live guest: how long after a command is typed its first event is printed.

Something is always exiting meanwhile.  Prints one JSON object: seconds of each try, of
`zaptrace live` as the guest has it, of bpftrace with the same probes, of a Python of its own with
nothing in the page cache, and of `import bcc` alone, likewise.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LIVE = ("live", "--json", "--source", "bcc")


def first_line(argv: Sequence[str], begins: bytes = b"") -> float:
    """Seconds from a command to its first line that is an event."""
    started = time.perf_counter()
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    while (line := child.stdout.readline()) and not line.startswith(begins):
        continue
    seconds = time.perf_counter() - started
    assert line, f"{argv[0]} has ended without an event"
    child.stdout.close()  # it would wait for us to read on, and never hear the signal
    child.terminate()
    child.wait()
    return seconds


def imported() -> float:
    """Seconds that Python takes to import bcc and end."""
    started = time.perf_counter()
    subprocess.run(["python3", "-c", "import bcc"], check=True)
    return time.perf_counter() - started


def cold() -> None:
    """Nothing of what was read stays in memory."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def main(tries: str, pairs: str) -> None:
    """Measure each a few times, the last two in turns; the guest has just been restored."""
    script = "while :; do /bin/true; sleep 0.05; done"
    busy = subprocess.Popen(["sh", "-c", script])
    try:
        ours = [first_line(("zaptrace", *LIVE), b"{") for _ in range(int(tries))]
        program = importlib.import_module("inside_overhead").bpftrace_program()
        theirs = [first_line(("bpftrace", "-e", program), b"1") for _ in range(int(tries))]
        fresh, alone = [], []
        for _ in range(int(pairs)):
            cold()
            alone.append(imported())
            cold()
            fresh.append(first_line(("python3", "-m", "zaptrace", *LIVE), b"{"))
        warm, after = imported(), first_line(("python3", "-m", "zaptrace", *LIVE), b"{")
    finally:
        busy.kill()
    found = {"ours": ours, "bpftrace": theirs, "fresh": fresh, "import_bcc": alone}
    json.dump({**found, "warm_import": warm, "warm_fresh": after}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
