"""The audit beside a loop over drgn's follow_page on the same dump.

Both start from the same mms.  The loop asks for the page behind every address of
every VMA and reads its two counters: it sees mapped pages only, so it could not
find the founding bug's page at all.  The audit also reads every struct page, every free
list and every rss counter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import drgn
from drgn.helpers.linux.mm import follow_page, for_each_vma

from zaptrace.audit import audit
from zaptrace.audit.ledger import take
from zaptrace.memory.opening import open_vmcore

ROUNDS = 3
PAGE_SIZE = 4096


def rows(vmcore: Path, vmlinux: Path) -> list[dict[str, object]]:
    """Rows of tests/schemas/bench.schema.json, the best of a few rounds each."""
    prog = open_vmcore(vmcore, vmlinux)
    result = audit(prog)
    mms = [mm.obj for mm in take(prog, None).mms]
    ours = result.ptes / min(audit(prog).seconds for _ in range(ROUNDS))
    theirs = max(_rate(lambda: _loop(mms)) for _ in range(ROUNDS))
    size = vmcore.stat().st_size >> 20
    return [
        {
            "name": "audit_vs_drgn_loop",
            "value": ours,
            "unit": "PTEs/s",
            "peer": "drgn follow_page loop",
            "peer_value": theirs,
            "ratio": ours / theirs,
            "conditions": f"{result.kernel_release}, {size} MB dump, {result.mms} mms, "
            f"{result.ptes} PTEs; warm debug info, best of {ROUNDS}; "
            f"ours reads all {result.pages} struct pages too, the loop only mapped ones",
        }
    ]


def _rate(work: Callable[[], int]) -> float:
    started = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - started)


def _loop(mms: Sequence[drgn.Object]) -> int:
    """How many pages the loop found mapped."""
    found = 0
    for mm in mms:
        for vma in for_each_vma(mm):
            for address in range(vma.vm_start.value_(), vma.vm_end.value_(), PAGE_SIZE):
                try:
                    page = follow_page(mm, address)
                    page._mapcount.counter.value_()
                    page._refcount.counter.value_()
                except drgn.FaultError:
                    continue
                found += 1
    return found
