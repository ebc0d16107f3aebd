"""Work that changes page tables all the time, for a live guest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from tests.guest.lab import Lab

PROGRAM = """\
import mmap, os, random, subprocess
for loop in ("ls -R /usr", "true; echo x | cat | sort"):
    subprocess.Popen(["sh", "-c", f"while :; do {loop}; done"], stdout=subprocess.DEVNULL)
size, page = 8 << 20, mmap.PAGESIZE
while True:
    at = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if random.random() < 0.5:
        at.madvise(mmap.MADV_HUGEPAGE)
    for place in range(0, size, page * random.choice((1, 7, 64))):
        at[place] = 1
    if not os.fork():
        for place in range(0, size, 16 * page):
            at[place] = 2
        os._exit(0)
    shared = mmap.mmap(-1, size // 8)
    for place in range(0, size // 8, page):
        shared[place] = 1
    at.close(), shared.close()
    os.waitpid(-1, os.WNOHANG)
"""
_WARM_SECONDS = 3.0


@contextlib.contextmanager
def running(guest: Lab) -> Iterator[None]:
    """Let the guest run PROGRAM, which is its /zaptrace/files/load.py."""
    command = "setsid python3 /zaptrace/files/load.py >/dev/null 2>&1 </dev/null"
    guest.output(f"{command} & echo $! >/run/load")
    time.sleep(_WARM_SECONDS)
    assert guest.run("test -d /proc/$(cat /run/load)").status == 0, "the load has ended"
    try:
        yield
    finally:
        guest.output("kill -KILL -- -$(cat /run/load); sleep 1")


FOLIO_PAGES = 16
MTHP = "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled"
"""Since "mm: thp: introduce multi-size THP sysfs interface" (6.8)."""
FOLIOS = (
    "import mmap, os; "
    "area = mmap.mmap(-1, 1 << 22, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); "
    "[area.__setitem__(at, 1) for at in range(0, len(area), mmap.PAGESIZE)]; "
    "area.close(); print(os.getpid())"
)
"""Anonymous memory, touched and unmapped; its pages come in folios where MTHP says "always"."""
