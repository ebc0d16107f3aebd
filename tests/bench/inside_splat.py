"""Parses blocks made of a boot log in a process of its own: how long, how much memory.

    python -m tests.bench.inside_splat CONSOLE.log MEGABYTES EVERY

prints one JSON object.  The log's lines without its reports are repeated; after each EVERY
megabytes (0: never) comes the whole log, reports and all.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from zaptrace.splat import splats

MB = 1_000_000


def blocks(log: bytes, megabytes: int, every: int) -> Iterator[bytes]:
    """The log's quiet lines over and over, in blocks of about a megabyte."""
    begins = log.find(b"BUG: Bad page")
    quiet = log[: log.rfind(b"\n", 0, begins) + 1] if begins > 0 else log
    block = quiet * max(1, MB // len(quiet))
    sent = since = 0
    while sent < megabytes * MB:
        yield block
        sent, since = sent + len(block), since + len(block)
        if every and since >= every * MB:
            yield log
            sent, since = sent + len(log), 0


def main() -> None:
    """Measure and print."""
    log, megabytes, every = Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), int(sys.argv[3])
    size = 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for block in blocks(log, megabytes, every):
            size += len(block)
            yield block

    started = time.process_time()
    found = sum(1 for _ in splats(counted()))
    seconds = time.process_time() - started
    print(json.dumps({"bytes": size, "seconds": seconds, "peak": peak(), "splats": found}))


def peak() -> int:
    """Return the most memory that this program had, in bytes.

    getrusage() also counts what the process that started it had: ru_maxrss outlives exec().
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main()
