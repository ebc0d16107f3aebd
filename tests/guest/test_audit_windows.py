"""The audit of a clean kernel that is stopped before each instruction by which a page comes to have
an anonymous rmap: between its count, the two halves of that, and its PTE."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from vm import initramfs, lab_kernel
from vm.qemu import Guest, GuestConfig, running
from zaptrace.arch import ARCHES
from zaptrace.audit import audit
from zaptrace.elf.image import Image
from zaptrace.elf.symtab import Symbols
from zaptrace.kernel.machinecode import decoder_of
from zaptrace.memory.open import open_program
from zaptrace.memory.registers import cpu_registers
from zaptrace.memory.vmcore import standardise
from zaptrace.model.findings import FindingClass
from zaptrace.model.progress import ignore

pytestmark = pytest.mark.guest

FUNCTIONS = ("__page_set_anon_rmap", "page_add_new_anon_rmap")
LEAST = 25
"""Instructions of them that a workload comes to."""
READY_SECONDS, NEXT_SECONDS = 300.0, 2.0
"""A busy machine may be slow to come to the least of them; others may not be come to at all."""


def instructions(arch: str, vmlinux: Path) -> set[int]:
    """The addresses of the functions' instructions."""
    found, decode = set[int](), decoder_of(ARCHES[arch])
    with Image(vmlinux) as image:
        symbols = Symbols(image)
        for name in FUNCTIONS:
            for function in symbols.functions(name):
                code, at = image.at(function.address, function.size), 0
                while (instruction := decode(code, at)) is not None:
                    found.add(function.address + at)
                    at += instruction.size
    return found


def test_a_page_is_nowhere_half_mapped(arch: str, tmp_path: Path) -> None:
    built = lab_kernel.build(ARCHES[arch], ignore)
    config = GuestConfig(
        arch=ARCHES[arch],
        kernel=built.image,
        initrd=initramfs.build(ARCHES[arch]),
        append=f"{ARCHES[arch].append} nokaslr zapfault=none zaptrace.do=load",
        console=tmp_path / "console.log",
        memory="128M",
        smp=1,
    )
    stopped, bugs = asyncio.run(stops(config, instructions(arch, built.vmlinux), built.vmlinux))

    assert bugs == []
    assert stopped >= LEAST


async def stops(config: GuestConfig, ahead: set[int], vmlinux: Path) -> tuple[int, list[str]]:
    """How often a guest was stopped, each time before another instruction, and what was found."""
    folder, bugs, stopped = config.console.parent, list[str](), 0
    async with running(config, folder / "qemu.log") as guest:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while b"workload begins" not in config.console.read_bytes():
            assert asyncio.get_running_loop().time() < deadline
            assert await guest.run_until((), 0.05) == "timeout"
        new, patience = sorted(ahead), READY_SECONDS
        while await guest.run_until(new, patience) == "breakpoint":
            new, stopped = [], stopped + 1
            patience = NEXT_SECONDS if stopped >= LEAST else READY_SECONDS
            here, found = await _audited(guest, folder / "vmcore", vmlinux)
            bugs += found
            await guest.clear_breakpoint(here)
    return stopped, bugs


async def _audited(guest: Guest, vmcore: Path, vmlinux: Path) -> tuple[int, list[str]]:
    await guest.dump(vmcore)
    standardise(vmcore)
    (cpu,) = cpu_registers(vmcore)
    result = audit(open_program(vmcore, vmlinux), cpus=[cpu]).result()
    vmcore.unlink()
    bugs = [one for one in result.findings if one.cls is not FindingClass.IN_FLIGHT]
    return cpu.pc, [f"{cpu.pc:#x}: {one}" for one in bugs]
