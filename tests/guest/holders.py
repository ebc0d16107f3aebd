"""A dump of the guest of `programs/holders.c`, which says exactly what it holds."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import drgn
import numpy as np
from drgn.helpers.linux.mm import follow_phys, pfn_to_page

from tests.guest import lab, mappings
from vm import lab_kernel
from zaptrace.arch import arch_named
from zaptrace.audit.arrays import Index
from zaptrace.audit.audited import Audited
from zaptrace.audit.inspect import PageView
from zaptrace.audit.openfiles import OpenFiles
from zaptrace.audit.references import References
from zaptrace.audit.structpages.pcp_lists import on_cpu_lists
from zaptrace.memory.open import open_program
from zaptrace.memory.vmcore import standardise
from zaptrace.model.progress import ignore

PAGE_LINE = re.compile(r"^page (\S+) (\d+) (\d+) (0x\w+) (0x\w+) (\d+) (0x\w+)", re.MULTILINE)
PIPE_LINE = re.compile(r"^pipe (\S+) (\d+) (\d+)", re.MULTILINE)
HUGE_LINE = re.compile(r"^huge (\S+) (\d+)", re.MULTILINE)
LOCKED_LINE = re.compile(r"^(locked|dontunmap) (\d+) (\d+)", re.MULTILINE)
KIB_PER_PAGE = 4


class Page(NamedTuple):
    """What the guest said of a page."""

    address: int
    pfn: int
    mapcount: int


@dataclass
class Held:
    """A dump of that guest, and what it said."""

    vmcore: Path
    vmlinux: Path
    console: str

    @property
    def pages(self) -> dict[tuple[str, int], Page]:
        found = PAGE_LINE.findall(self.console)
        return {
            (name, int(number)): Page(int(address, 16), int(pfn, 16), int(mapcount))
            for name, number, _, address, pfn, mapcount, _ in found
        }

    @property
    def in_pipes(self) -> dict[tuple[str, int], int]:
        found = PIPE_LINE.findall(self.console)
        return {(name, int(number)): int(count) for name, number, count in found}

    def number(self, what: str, pid: int) -> int:
        """VmLck in KiB, as the guest read it."""
        lines = LOCKED_LINE.findall(self.console)
        return next(int(kib) for name, who, kib in lines if (name, int(who)) == (what, pid))

    def opened(self) -> drgn.Program:
        return open_program(self.vmcore, self.vmlinux)


def boot(arch: str, folder: Path, words: str) -> Held:
    row = arch_named(arch)
    built = lab_kernel.build(row, ignore)
    config = lab.config_of(
        row,
        built,
        lab.PROGRAMS / "holders.c",
        folder,
        words,
        memory="512M",
        disks={"swap": mappings.swap_space(folder / "swap")},
    )
    vmcore = folder / "vmcore"
    console = asyncio.run(mappings.dumped(config, folder, vmcore))
    standardise(vmcore)
    return Held(vmcore, built.vmlinux, console)


def member(prog: drgn.Program, held: Held, key: tuple[str, int], name: str) -> int:
    """Where a member of a page's struct page lies."""
    page = pfn_to_page(prog, held.pages[key].pfn)
    address: int = page.member_(name).address_
    return address


def references_of(found: Audited) -> References:
    return References(found.state, found.owners)


def head_of(found: Audited, pfn: int) -> int:
    index = int(found.state.pages.indices(np.array([pfn], np.uint64))[0])
    return int(found.state.recorded.head[index])


def content_of(found: Audited, pfn: int) -> bytes:
    return bytes(found.state.prog.read(pfn << 12, 4096, True))


def filtered_at(found: Audited, level: int) -> set[int]:
    """The PFNs that a level of makedumpfile leaves out, but for pages of zeros."""
    recorded = found.state.recorded
    user = recorded.mappable & ~recorded.free & (recorded.anon | (recorded.mapcount > 0))
    user |= recorded.mappable & recorded.swapbacked & ~recorded.free
    which = (user & bool(level & 8)) | (recorded.free & bool(level & 16))
    return set(found.state.pages.pfns(np.flatnonzero(which)).tolist())


def answers(view: PageView) -> dict[str, Any]:
    """All that is said of a page but whether the dump has its content."""
    data = view.to_json()
    del data["use"]["content"]
    return data


def buddy_of(found: Audited) -> Index:
    """The pages in the buddy allocator."""
    listed, _ = on_cpu_lists(found.state.prog, found.state.pages)
    return np.setdiff1d(np.flatnonzero(found.state.recorded.free), listed)


def unlike(held: Held, found: Audited) -> int:
    """A mapped page whose struct page lies in another page than those of the pages held."""
    layout = found.state.pages.layout
    theirs = {layout.address(page.pfn) >> 12 for page in held.pages.values()}
    mapped = found.state.pages.pfns(np.flatnonzero(found.state.ptes)).tolist()
    others: list[int] = [pfn for pfn in mapped if layout.address(pfn) >> 12 not in theirs]
    return others[0]


def frame_of(found: Audited, address: int) -> int:
    """The PFN behind an address of the kernel's."""
    return int(follow_phys(found.state.prog["init_mm"].address_of_(), address)) >> 12


def table_of(found: Audited, address: int) -> int:
    """The PFN of the table that has init's PTE of an address."""
    (view,) = found.inspect().address(address, 1)
    return view.steps[-1].table >> 12


def pipes_of(found: Audited) -> list[drgn.Object]:
    files = OpenFiles(found.state.prog).of_kinds("pipefifo_fops", "pipeanon_fops")
    return [drgn.cast("struct pipe_inode_info *", one.obj.private_data) for one in files]


def pfn_of(found: Audited, index: int) -> int:
    return int(found.state.pages.pfns(np.array([index]))[0])


def words_of(prog: drgn.Program, at: int, size: int, value: int) -> list[int]:
    """Where a value lies in some memory."""
    return [where for where in range(at, at + size, 8) if prog.read_u64(where) == value]
