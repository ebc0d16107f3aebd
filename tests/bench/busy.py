"""A dump with many page tables to walk: 300 processes that map 320 pages each."""

from __future__ import annotations

import asyncio
from pathlib import Path

from vm import initramfs
from vm.arch import ARCHES
from vm.qemu import GuestConfig, running
from zaptrace.memory.vmcore import standardise

HOLDING = b"zaptrace: holding"
SECONDS = 120.0


def busy_dump(folder: Path, vmlinux: Path) -> Path:
    """Boot the lab kernel of `vmlinux`, let the processes map, and dump it; the vmcore."""
    arch = ARCHES["s390x"]
    config = GuestConfig(
        arch=arch,
        kernel=vmlinux.with_name("image"),
        initrd=initramfs.build(arch),
        append=f"{arch.append} nokaslr zaptrace.do=hold",
        console=folder / "console.log",
        memory="1G",
    )
    vmcore = folder / "vmcore"
    asyncio.run(_dumped(config, vmcore, folder / "qemu.log"))
    standardise(vmcore)
    return vmcore


async def _dumped(config: GuestConfig, vmcore: Path, log: Path) -> None:
    async with running(config, log) as guest:
        holding = asyncio.create_task(_holding(config.console))
        ended = await guest.run_until((), SECONDS, also=holding)
        if not holding.done():
            raise SystemExit(f"the busy guest did not get to hold its mappings: {ended}")
        await guest.dump(vmcore)


async def _holding(console: Path) -> None:
    while HOLDING not in console.read_bytes():
        await asyncio.sleep(0.1)
