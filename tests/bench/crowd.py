"""Dumps of guests with many page tables to walk: `crowd.c` is their init."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from tests.guest import lab
from vm import lab_kernel
from vm.qemu import GuestConfig, running
from zaptrace.arch import arch_named
from zaptrace.memory.vmcore import standardise
from zaptrace.model.progress import ignore

READY = b"READY"
SECONDS = 240.0
PAGES_PER_MB = 256
SOURCE = Path(__file__).with_name("crowd.c")


@dataclass(frozen=True, slots=True)
class Crowd:
    """What runs in a guest.

    Attributes:
        memory: MB of the guest.
        processes: how many.
        own: MB of anonymous memory that each has.
        shared: MB that all of them map.
    """

    memory: int
    processes: int
    own: int
    shared: int

    @property
    def ptes(self) -> int:
        """How many entries map what the processes touched; libc and stacks come on top."""
        return self.processes * (self.own + self.shared) * PAGES_PER_MB


@dataclass(frozen=True, slots=True)
class Dump:
    """A vmcore and the vmlinux of its kernel."""

    vmcore: Path
    vmlinux: Path


def dumped(arch: str, crowd: Crowd, folder: Path) -> Dump:
    """Boot a guest of that crowd, and dump it when all is mapped; a sparse file.

    Raises:
        SystemExit: the guest did not get that far.
    """
    row, name = arch_named(arch), f"{arch}-{crowd.memory}"
    built = lab_kernel.build(row, ignore)
    words = f"{row.lab_append} -- {crowd.processes} {crowd.own} {crowd.shared}"
    console, memory = folder / f"console-{name}", f"{crowd.memory}M"
    config = lab.config_of(row, built, SOURCE, folder, words, console=console, memory=memory)
    vmcore = folder / f"vmcore-{name}"
    asyncio.run(_dumped(config, vmcore, folder / "qemu.log"))
    standardise(vmcore)
    return Dump(vmcore, built.vmlinux)


async def _dumped(config: GuestConfig, vmcore: Path, log: Path) -> None:
    async with running(config, log) as guest:
        ready = asyncio.create_task(_ready(config.console))
        ended = await guest.run_until((), SECONDS, also=ready)
        if not ready.done():
            raise SystemExit(f"the crowded guest did not get to map its memory: {ended}")
        await guest.dump(vmcore)


async def _ready(console: Path) -> None:
    while not console.exists() or READY not in console.read_bytes():
        await asyncio.sleep(0.1)
