"""What CPUs do at the moment of a dump, and what the audit may conclude meanwhile."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.guest import lab
from vm import lab_kernel
from vm.qemu import GuestConfig, running
from zaptrace.arch import ARCHES
from zaptrace.audit import audit
from zaptrace.memory.open import open_program
from zaptrace.memory.registers import CpuRegisters, cpu_registers
from zaptrace.memory.vmcore import standardise
from zaptrace.model.findings import FindingClass
from zaptrace.model.progress import ignore

pytestmark = pytest.mark.guest

READY_SECONDS = 300.0
DUMPS = 20
"""A timer's interrupt may come in one, hardly in each: a guest that is short of CPU is given longer
and longer to be done with those that were due."""


def test_a_cpu_in_user_space_holds_no_page(arch: str, tmp_path: Path) -> None:
    """Two programs run for ever: a reference that was leaked before is found all the same."""
    row = ARCHES[arch]
    built, source = lab_kernel.build(row, ignore), lab.PROGRAMS / "spinning.c"
    config = lab.config_of(row, built, source, tmp_path, "zapfault=hold", memory="128M")
    vmcore = tmp_path / "vmcore"
    cpus = asyncio.run(dumped_in_user_space(config, tmp_path, vmcore))
    result = audit(open_program(vmcore, built.vmlinux), cpus=cpus).result()

    console = config.console.read_text(errors="replace")
    leaked = re.search(r"^leaked (0x\w+)", console, re.MULTILINE)
    assert leaked, console[-2000:]
    found = [(one.cls, one.pfn) for one in result.findings]
    assert found == [(FindingClass.REFCOUNT_LEAKED, int(leaked[1], 16))]
    assert result.unseen == ()


async def dumped_in_user_space(
    config: GuestConfig, folder: Path, vmcore: Path
) -> list[CpuRegisters]:
    """Dump the guest while both CPUs run programs; their registers."""
    async with running(config, folder / "qemu.log") as guest:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while "READY 1" not in (text := _text(config.console)):
            assert asyncio.get_running_loop().time() < deadline, text[-2000:]
            assert await guest.run_until((), 0.1) == "timeout", text[-2000:]
        for number in range(DUMPS):
            assert await guest.run_until((), 0.1 * (1 + number)) == "timeout"
            vmcore.unlink(missing_ok=True)
            await guest.dump(vmcore)
            cpus = cpu_registers(vmcore)
            if len(cpus) == 2 and all(one.in_user_space for one in cpus):
                standardise(vmcore)
                return cpus
    pytest.fail(f"in none of {DUMPS} dumps both CPUs were in user space, in the last {cpus}")


def _text(console: Path) -> str:
    return console.read_text(errors="replace") if console.exists() else ""
