"""Runs in a live guest: how long after `zaptrace live` is typed its first event is printed.

Something is always exiting meanwhile.  Prints one JSON object: seconds of each try.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time


def first_event() -> float:
    """Seconds from the command to its first event."""
    started = time.perf_counter()
    child = subprocess.Popen(["zaptrace", "live", "--json"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    seconds = time.perf_counter() - started
    child.stdout.close()  # it would wait for us to read on, and never hear the signal
    child.terminate()
    child.wait()
    return seconds


def main(tries: str) -> None:
    """Measure it a few times: the first with nothing in the page cache."""
    busy = subprocess.Popen(["sh", "-c", "while :; do /bin/true; sleep 0.05; done"])
    try:
        seconds = [first_event() for _ in range(int(tries))]
    finally:
        busy.kill()
    json.dump({"seconds": seconds}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
