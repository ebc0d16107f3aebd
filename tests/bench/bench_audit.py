"""The audit beside a loop over drgn's follow_page on the same dump, and as dumps grow.

Both start from the same mms.  The loop asks for the page at every address of
every VMA and reads its two counters: it sees mapped pages only, so it could not
find the founding bug's page at all.  The audit also reads every struct page, every free
list and every rss counter.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import drgn
from drgn.helpers.linux.mm import follow_page, for_each_vma

from tests.bench.crowd import Crowd, Dump, dumped
from tests.bench.limits import judged
from zaptrace.audit import audit
from zaptrace.audit.further import further_findings
from zaptrace.audit.state import read_state
from zaptrace.memory.open import open_program

ROUNDS = 5
PAGE_SIZE = 4096
CROWD = Crowd(memory=1024, processes=40, own=12, shared=64)
SIZES_MB = (512, 4096, 16384)
TIMES_THE_LOOP = 200
BEYOND_LINEAR = 1.25
"""How much longer a dump of n times the memory may take than n times as long; noise included."""
OF_THE_DUMP = 1 / 8
TIMES_READING = 3
ALONE = Path(__file__).with_name("inside_audit.py")


def rows(folder: Path) -> Iterator[dict[str, object]]:
    """Rows of tests/schemas/bench.schema.json, the best of a few rounds each."""
    for arch in ("x86_64", "s390x"):
        dump = dumped(arch, CROWD, folder)
        yield _beside_the_loop(arch, dump)
        yield _further_checks(arch, dump)
        dump.vmcore.unlink()
    yield from growth_rows(list(_growth(folder)))


def _beside_the_loop(arch: str, dump: Dump) -> dict[str, object]:
    prog = open_program(dump.vmcore, dump.vmlinux)
    result = audit(prog).result()
    assert result.ptes >= CROWD.ptes, "the crowd's pages are not all found"
    mms = [mm.obj for mm in read_state(prog, None).mms]
    ours = result.ptes / min(_cpu_seconds(lambda: audit(prog).result()) for _ in range(ROUNDS))
    theirs = _loop(mms) / _cpu_seconds(lambda: _loop(mms))
    row: dict[str, object] = {
        "name": "audit_vs_drgn_loop",
        "measure": arch,
        "value": ours,
        "unit": "PTEs/s",
        "peer": "drgn follow_page loop",
        "peer_value": theirs,
        "ratio": ours / theirs,
        "conditions": f"{result.kernel_release}, dump of a guest of {CROWD.memory} MB, "
        f"{result.mms} mms, {result.ptes} PTEs; CPU time of both; warm debug info and page "
        f"cache, best of {ROUNDS}, the loop's second round; ours reads all {result.pages} "
        "struct pages too, the loop only mapped ones",
    }
    limit = f"at least {TIMES_THE_LOOP} times the loop"
    return judged(row, limit, met=ours >= TIMES_THE_LOOP * theirs)


def _further_checks(arch: str, dump: Dump) -> dict[str, object]:
    """Of the audit what rmaps, references, locked_vm and pools of huge pages cost."""
    prog = open_program(dump.vmcore, dump.vmlinux)
    found = audit(prog)
    whole = min(_cpu_seconds(lambda: audit(prog).result()) for _ in range(ROUNDS))
    further = min(
        _cpu_seconds(lambda: further_findings(found.state, found.owners, ())) for _ in range(ROUNDS)
    )
    return {
        "name": "audit_vs_drgn_loop",
        "measure": f"{arch}, further checks of the audit",
        "value": further,
        "unit": "s",
        "peer": "the whole audit, they among it",
        "peer_value": whole,
        "ratio": further / whole,
        "conditions": f"dump of a guest of {CROWD.memory} MB, {len(found.state.mms)} mms: "
        "anonymous rmaps, references that nothing holds, locked_vm, pools of huge pages, zero "
        f"pages; CPU time, warm debug info and page cache, best of {ROUNDS}",
    }


def _growth(folder: Path) -> Iterator[dict[str, Any]]:
    """Return, for each of SIZES_MB, what inside_audit.py prints, and `memory`, MB.

    Dumps of guests of which a sixteenth is anonymous memory of sixteen processes, and a
    sixty-fourth is mapped by all of them.
    """
    for memory in SIZES_MB:
        crowd = Crowd(memory, processes=16, own=memory // 256, shared=memory // 64)
        dump = dumped("x86_64", crowd, folder)
        alone = _alone(dump)
        dump.vmcore.unlink()
        assert alone["ptes"] >= crowd.ptes, f"{memory} MB: the crowd's pages are not all found"
        assert alone["findings"] == 0, f"{memory} MB: a clean guest has findings"
        yield alone | {"memory": memory}


def growth_rows(told: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, object]]:
    """A row for each limit, from what `_growth` returns; `measure` says which."""
    yield _linear(told)
    yield from map(_beside_reading, told)
    yield from chain.from_iterable(map(_peaks, told))


def _linear(told: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    worst = max(
        larger["warm"] / smaller["warm"] / (larger["memory"] / smaller["memory"])
        for smaller, larger in pairwise(told)
    )
    times = ", ".join(
        f"{one['memory']} MB {one['warm'] * 1e3:.0f} ms ({one['ptes']} PTEs)" for one in told
    )
    row: dict[str, object] = {
        "name": "audit_growth",
        "measure": "time by memory",
        "value": worst,
        "unit": "of linear",
        "conditions": f"x86_64 guests, warm page cache, without the time that others had the CPU; "
        f"the worst step of: {times}",
    }
    return judged(row, f"at most {BEYOND_LINEAR} times linear", met=worst <= BEYOND_LINEAR)


def _beside_reading(one: Mapping[str, Any]) -> dict[str, object]:
    row: dict[str, object] = {
        "name": "audit_growth",
        "measure": f"beside reading, {one['memory']} MB",
        "value": one["cold"],
        "unit": "s",
        "peer": f"reading its {one['bytes'] >> 20} MB",
        "peer_value": one["read_cold"],
        "ratio": one["read_cold"] / one["cold"],
        "conditions": f"x86_64 guest, {one['memory']} MB, {one['ptes']} PTEs, both with an empty "
        f"page cache; with a warm one {one['warm']:.3f} s and {one['read_warm']:.3f} s",
    }
    if one["memory"] < max(SIZES_MB):
        return row
    met = one["cold"] <= TIMES_READING * one["read_cold"]
    return judged(row, f"at most {TIMES_READING} times reading", met=met)


def _peaks(one: Mapping[str, Any]) -> Iterator[dict[str, object]]:
    """What the audit adds to an opened program, and of the largest dump all that there is.

    Debug info alone is more than an eighth of a small dump, whatever reads it.
    """
    alone = one["peak"] - one["opened"]
    yield _peak(one, "of the audit", alone)
    if one["memory"] == max(SIZES_MB):
        yield _peak(one, "of the process", one["peak"])


def _peak(one: Mapping[str, Any], what: str, peak: int) -> dict[str, object]:
    dump = one["memory"] << 20
    row: dict[str, object] = {
        "name": "audit_growth",
        "measure": f"peak memory {what}, {one['memory']} MB",
        "value": peak / dump,
        "unit": "of the dump",
        "conditions": f"x86_64 guest, {one['memory']} MB: {one['peak'] >> 20} MB at most in all "
        f"({one['peak'] / dump:.3f} of the dump), {one['opened'] >> 20} MB of it when drgn had "
        "opened dump and debug info",
    }
    return judged(row, f"at most {OF_THE_DUMP}", met=peak <= OF_THE_DUMP * dump)


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
