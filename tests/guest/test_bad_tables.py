"""An entry of a page table is written over in a real guest: the stop where the kernel clears it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import numpy as np
import pytest

from tests.guest import lab, mappings
from vm import lab_kernel
from vm.qemu import GuestConfig, running
from zaptrace.arch import arch_named
from zaptrace.audit import audit
from zaptrace.audit.inspect import AddressView
from zaptrace.explain import Evidence, explain
from zaptrace.kernel import plan_for
from zaptrace.memory.open import open_program
from zaptrace.memory.stopped_cpu import stop_events
from zaptrace.memory.vmcore import standardise
from zaptrace.model.events import Kind
from zaptrace.model.progress import ignore
from zaptrace.model.verdict import VerdictKind
from zaptrace.runs import stops
from zaptrace.splat import parse_console

pytestmark = pytest.mark.guest

WHERE = re.compile(r"at (0x\w+) flag (0x\w+)")
BAD = {"x86_64": bytes.fromhex("0100000000000000"), "s390x": bytes.fromhex("00000000000000ab")}
"""A present entry without the bits of a table or a leaf; one that has a region table's type."""


@pytest.mark.parametrize("arch", ["x86_64", "s390x"])
def test_a_guest_is_stopped_where_a_bad_entry_is_cleared(arch: str, tmp_path: Path) -> None:
    row = arch_named(arch)
    built = lab_kernel.build(row, ignore)
    source = lab.PROGRAMS / "overwritten.c"
    config = lab.config_of(row, built, source, tmp_path, memory="256M")
    plan = plan_for(built.vmlinux)
    where = stops.of_the_bug(plan, *stops.EVENTS["bad_table"])
    assert len(where.addresses) == stops.HARDWARE
    vmcore = tmp_path / "stopped"
    name = asyncio.run(_struck(config, tmp_path, built.vmlinux, where.addresses, vmcore))
    assert name is not None
    assert where.names[where.addresses.index(name)] == "bad_table"
    standardise(vmcore)
    events = stop_events(open_program(vmcore, built.vmlinux), vmcore, plan)
    (record,) = events.records
    assert Kind(record["kind"]) is Kind.BAD_TABLE
    assert record["comm"] == b"init"
    assert events.stacks[int(record["stack"])][0] == record["caller"]
    verdict = explain(Evidence(events, ended="bad_table"))
    assert verdict.kind is VerdictKind.UNEXPLAINED
    assert "The kernel cleared an entry of page tables above the PTEs as bad" in verdict.summary
    assert "first in init/1" in verdict.summary
    splats = parse_console(config.console.read_bytes())
    assert "bad_page_table" in {splat.kind for splat in splats}


async def _struck(
    config: GuestConfig, folder: Path, vmlinux: Path, at: tuple[int, ...], vmcore: Path
) -> int | None:
    """The stop of a guest whose PMD was written over; it then runs on to its end."""
    async with running(config, folder / "qemu.log") as guest:
        while (said := WHERE.search(mappings.console(config))) is None:
            assert await guest.run_until((), 0.2) == "timeout"
        page, flag = (int(address, 16) for address in said.groups())
        before = folder / "before"
        await guest.dump(before)
        standardise(before)
        inspector = audit(open_program(before, vmlinux)).inspect()
        (entry,) = inspector.address(page, 1)
        (flagged,) = inspector.address(flag, 1)
        assert flagged.pfn is not None
        await guest.write_physical(_pmd_of(entry), BAD[config.arch.name])
        await guest.write_physical(flagged.pfn << 12, b"\x01")
        assert await guest.run_until(at, 120) == "breakpoint"
        name = await guest.standing_at(at)
        await guest.dump(vmcore)
        for address in at:
            await guest.clear_breakpoint(address)
        assert await guest.run_until((), 120) in ("exit", "panic")
    return name


def _pmd_of(view: AddressView) -> int:
    """The physical address of the entry above the PTEs."""
    step = view.steps[-2]
    return int(np.uint64(step.table)) + 8 * step.index
