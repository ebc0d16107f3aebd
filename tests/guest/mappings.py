"""Guests whose init builds one mapping of each kind (`programs/mappings.c`), says what the kernel
says of it, and stays; and their dumps."""

from __future__ import annotations

import asyncio
import functools
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.guest import lab
from vm import lab_kernel
from vm.package_trees import make_image
from vm.qemu import GuestConfig, running
from vm.stock import StockKernel
from zaptrace.arch import arch_named
from zaptrace.audit import audit
from zaptrace.audit.state import KernelState, read_state
from zaptrace.memory.open import open_program
from zaptrace.memory.registers import cpu_registers
from zaptrace.memory.vmcore import standardise
from zaptrace.model.findings import AuditResult
from zaptrace.model.progress import ignore

READY_SECONDS = 300.0
PAGE = 4096
KPF = {
    "mmap": 11,
    "anon": 12,
    "swapbacked": 14,
    "compound head": 15,
    "compound tail": 16,
    "huge": 17,
    "hwpoison": 19,
    "ksm": 21,
    "thp": 22,
    "zero": 24,
}
"""Bits of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h) that the audit knows, too."""


class Machine(NamedTuple):
    """What kind of guest to boot.

    Attributes:
        cpu: the emulated CPU's model and features, "" for QEMU's own choice.
        append: more kernel arguments.
        holds: the kinds of mapping that only such a machine has.
    """

    arch: str
    holds: frozenset[str]
    cpu: str = ""
    append: str = ""
    memory: str = "512M"
    smp: int = 2


_X86_64 = {"thp", "thp by PTE", "thp in part", "thp by PMD and PTE", "huge zero"}
_X86_64 |= {"hugetlb", "secretmem", "hwpoison", "device private", "device exclusive", "DAX"}
_PERSISTENT = "memmap=32M!256M"  # that memory outlives a power cut, for DAX

MACHINES = {
    # TCG's s390x has no EDAT for large pages.
    "s390x": Machine("s390x", frozenset({"above 4 TB", "above 8 PB"})),
    "x86_64": Machine("x86_64", frozenset(_X86_64), append=_PERSISTENT),
    "x86_64 with five levels": Machine(
        "x86_64",
        frozenset(_X86_64 | {"above 128 TB", "leaf of 1 GB"}),
        cpu="qemu64,+la57,+pdpe1gb",
        append=f"{_PERSISTENT} pti=on hugepagesz=1G hugepages=1",
        memory="3584M",  # the fifth gigabyte is whole, and nothing else lies there at boot
    ),
}


class Page(NamedTuple):
    """What the guest said of a page: kpagecount and kpageflags."""

    pfn: int
    mapcount: int
    flags: int

    def kinds(self) -> set[str]:
        return {name for name, bit in KPF.items() if self.flags >> bit & 1}


class Area(NamedTuple):
    """A mapping: whose, from where, how many pages, and of which of them the guest spoke."""

    pid: int
    start: int
    pages: int
    step: int

    def told(self) -> range:
        """The addresses of those pages."""
        return range(self.start, self.start + PAGE * self.pages, PAGE * self.step)


@dataclass
class Told:
    """What the guest said.

    Attributes:
        maps: name of the mapping -> address -> page.
        areas: name of the mapping -> where.
        absent: name of the mapping -> how many of its entries map nothing now.
        swapped: swap entries of init.
        executing: pid of a child that stays inside execve().
        lacking: kinds that it could not build.
    """

    maps: dict[str, dict[int, Page]] = field(default_factory=dict)
    areas: dict[str, Area] = field(default_factory=dict)
    absent: dict[str, int] = field(default_factory=dict)
    swapped: int = 0
    executing: int = 0
    lacking: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, console: str) -> Told:
        told, pages = cls(), dict[int, Page]()
        for line in console.splitlines():
            match line.split():
                case ["map", pid, address, count, step, *name]:
                    pages = told.maps.setdefault(" ".join(name), {})
                    area = Area(int(pid), int(address, 16), int(count), int(step))
                    told.areas[" ".join(name)] = area
                case ["absent", count, *name]:
                    told.absent[" ".join(name)] = int(count)
                case ["no", *name]:
                    told.lacking.add(" ".join(name))
                case ["swapped", count]:
                    told.swapped = int(count)
                case ["executing", pid]:
                    told.executing = int(pid)
                case ["page", address, pfn, mapcount, flags]:
                    pages[int(address, 16)] = Page(int(pfn, 16), int(mapcount), int(flags, 16))
        return told


@dataclass(eq=False)
class Guest:
    machine: Machine
    config: GuestConfig
    vmlinux: Path
    told: Told
    vmcore: Path
    state: KernelState
    result: AuditResult

    @property
    def arch(self) -> str:
        return self.machine.arch

    def pfn(self, name: str) -> int:
        """Of the first page of a mapping."""
        return next(iter(self.told.maps[name].values())).pfn

    def walked(self, name: str) -> dict[int, tuple[int, bool]]:
        """Address -> (pfn, whether it counts), in the mm that has a mapping."""
        return self.walked_of(self.told.areas[name].pid)

    @functools.cache  # noqa: B019 -- one guest a machine
    def walked_of(self, pid: int) -> dict[int, tuple[int, bool]]:
        state, walked = self.state, self.state.walked
        (number,) = [
            number
            for number, mm in enumerate(state.mms)
            if any(task.pid == pid for task in mm.tasks)
        ]
        return {
            int(walked.address[leaf]) + PAGE * page: (
                int(walked.pfn[leaf]) + page,
                bool(state.normal[leaf]),
            )
            for leaf in np.flatnonzero(walked.mm == number)
            for page in range(int(state.sizes[leaf]))
        }


def boot(machine: Machine, folder: Path, built: lab_kernel.Kernel | None = None) -> Guest:
    """A guest that has built them all, dumped and audited; its files lie in `folder`.

    Args:
        built: the kernel, None for the lab's.
    """
    row = arch_named(machine.arch)
    built = built or lab_kernel.build(row, ignore)
    modules = built.modules if isinstance(built, StockKernel) else ()
    config = lab.config_of(
        row,
        built,
        lab.PROGRAMS / "mappings.c",
        folder,
        f"secretmem.enable=1 {machine.append}",
        files={f"/modules/{module.name}": module for module in modules},
        cpu=machine.cpu,
        memory=machine.memory,
        smp=machine.smp,
        disks={"swap": swap_space(folder / "swap"), "files": _file_system(folder)},
    )
    vmcore = folder / "vmcore"
    told = asyncio.run(dumped(config, folder, vmcore))
    standardise(vmcore)
    prog = open_program(vmcore, built.vmlinux)
    result = audit(prog, cpus=cpu_registers(vmcore)).result()
    return Guest(
        machine, config, built.vmlinux, Told.of(told), vmcore, read_state(prog, None), result
    )


def swap_space(path: Path, pages: int = 256) -> Path:
    """What mkswap makes of a disk (union swap_header, include/linux/swap.h).

    In the guest's byte order: the kernel swaps the numbers where it is another one's.
    """
    header = bytearray(PAGE)
    struct.pack_into("<II", header, 1024, 1, pages - 1)  # version, last_page
    header[-10:] = b"SWAPSPACE2"
    path.write_bytes(bytes(header) + bytes(PAGE * (pages - 1)))
    return path


def _file_system(folder: Path) -> Path:
    """An empty one for the persistent memory; blocks of a page's size, or DAX does not work."""
    empty, image = folder / "empty", folder / "files"
    empty.mkdir()
    make_image(empty, image, "24M", block=PAGE)
    return image


async def dumped(config: GuestConfig, folder: Path, vmcore: Path) -> str:
    """The console of a guest that was dumped when it was ready."""
    async with running(config, folder / "qemu.log") as machine:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while "READY 1" not in (text := console(config)):
            assert asyncio.get_running_loop().time() < deadline, text[-2000:]
            assert await machine.run_until((), 0.2) == "timeout", text[-2000:]
        # Its init has said so, and is to sleep as well.
        assert await machine.run_until((), 0.2) == "timeout", text[-2000:]
        await machine.dump(vmcore)
    return text


def console(config: GuestConfig) -> str:
    """What a guest has said so far."""
    return config.console.read_text(errors="replace") if config.console.exists() else ""
