"""The audit beside a loop over drgn's follow_page on the same dump, and as dumps grow.

Both start from the same mms.  The loop asks for the page behind every address of
every VMA and reads its two counters: it sees mapped pages only, so it could not
find the founding bug's page at all.  The audit also reads every struct page, every free
list and every rss counter.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import drgn
from drgn.helpers.linux.mm import follow_page, for_each_vma

from tests.bench.crowd import Crowd, Dump, dumped
from zaptrace.audit import audit
from zaptrace.audit.ledger import take
from zaptrace.memory.opening import open_vmcore

ROUNDS = 5
PAGE_SIZE = 4096
CROWD = Crowd(memory=1024, processes=40, own=12, shared=64)
SIZES_MB = (512, 4096, 16384)
ALONE = Path(__file__).with_name("inside_audit.py")


def rows(folder: Path) -> Iterator[dict[str, object]]:
    """Rows of tests/schemas/bench.schema.json, the best of a few rounds each."""
    for arch in ("x86_64", "s390x"):
        dump = dumped(arch, CROWD, folder)
        yield _beside_the_loop(arch, dump)
        dump.vmcore.unlink()
    yield _growth(folder)


def _beside_the_loop(arch: str, dump: Dump) -> dict[str, object]:
    prog = open_vmcore(dump.vmcore, dump.vmlinux)
    result = audit(prog)
    assert result.ptes >= CROWD.ptes, "the crowd's pages are not all found"
    mms = [mm.obj for mm in take(prog, None).mms]
    ours = result.ptes / min(_cpu_seconds(lambda: audit(prog)) for _ in range(ROUNDS))
    theirs = _loop(mms) / _cpu_seconds(lambda: _loop(mms))
    return {
        "name": "audit_vs_drgn_loop",
        "value": ours,
        "unit": "PTEs/s",
        "peer": "drgn follow_page loop",
        "peer_value": theirs,
        "ratio": ours / theirs,
        "conditions": f"{arch}, {result.kernel_release}, dump of a guest of {CROWD.memory} MB, "
        f"{result.mms} mms, {result.ptes} PTEs; CPU time of both; warm debug info and page "
        f"cache, best of {ROUNDS}, the loop's second round; ours reads all {result.pages} "
        "struct pages too, the loop only mapped ones",
    }


def _growth(folder: Path) -> dict[str, object]:
    """Dumps of guests of which a sixteenth is anonymous memory of sixteen processes, and a
    sixty-fourth is mapped by all of them."""
    told = []
    for memory in SIZES_MB:
        crowd = Crowd(memory, processes=16, own=memory // 256, shared=memory // 64)
        dump = dumped("x86_64", crowd, folder)
        alone = _alone(dump)
        dump.vmcore.unlink()
        assert alone["ptes"] >= crowd.ptes, f"{memory} MB: the crowd's pages are not all found"
        assert alone["findings"] == 0, f"{memory} MB: a clean guest has findings"
        told.append(alone)
    first, last = told[0], told[-1]
    times = "; ".join(
        f"{memory} MB: {one['warm'] * 1e3:.0f} ms, {one['cold'] * 1e3:.0f} ms cold "
        f"(reading {one['read_warm'] * 1e3:.0f} and {one['read_cold'] * 1e3:.0f}), "
        f"{one['ptes']} PTEs, peak {(one['peak'] - one['opened']) >> 20} MB above the "
        f"{one['opened'] >> 20} MB of the opened program"
        for memory, one in zip(SIZES_MB, told, strict=True)
    )
    return {
        "name": "audit_growth",
        "value": last["cold"],
        "unit": "s",
        "peer": f"reading its {last['bytes'] >> 20} MB, both with an empty page cache",
        "peer_value": last["read_cold"],
        "ratio": last["read_cold"] / last["cold"],
        "conditions": "x86_64 guests, time at 16 GB, without the time that others had the CPU; "
        f"{last['warm'] / first['warm']:.1f} times "
        f"that of 0.5 GB with {last['ptes'] / first['ptes']:.0f} times the PTEs; {times}",
    }


def _alone(dump: Dump) -> dict[str, Any]:
    argv: Sequence[str | Path] = [sys.executable, ALONE, dump.vmcore, dump.vmlinux]
    told = subprocess.run(argv, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(told.stdout)
    return answer


def _cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


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
