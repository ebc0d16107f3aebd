"""The audit of a guest with one mapping of each kind, against what the guest's kernel said of it.

The guest's init is `programs/mappings.c`: it builds the mappings, reads /proc/self/pagemap and
/proc/kpagecount and kpageflags, says what it found and stays; then the guest is dumped.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import jsonschema
import numpy as np
import pytest

from tests.guest import lab
from tests.guest.test_audit import NOT_PRESENT, translations
from vm import kernel
from vm.arch import arch_named
from vm.cpio import Archive
from vm.qemu import GuestConfig, command_line, running
from zaptrace.audit import audit
from zaptrace.audit.judged import judged
from zaptrace.audit.ledger import Ledger, take
from zaptrace.audit.look import Looking
from zaptrace.audit.structpages import MAPPING_FLAGS
from zaptrace.memory.opening import open_vmcore
from zaptrace.memory.registers import cpu_registers
from zaptrace.memory.vmcore import standardise
from zaptrace.model.findings import AuditResult
from zaptrace.model.progress import ignore

pytestmark = pytest.mark.guest
SCHEMA = json.loads((Path(__file__).parents[1] / "schemas/inspect.schema.json").read_text())

EVERYWHERE = {"anon", "shmem", "zero", "prot_none", "ksm", "file", "memfd", "memfd copied"}
EVERYWHERE |= {"userfaultfd", "swapped", "pfnmap"}
OF_ARCH = {
    "s390x": {"above 4 TB", "above 8 PB"},
    "x86_64": {"thp", "thp by PTE", "thp in part", "thp by PMD and PTE", "huge zero"}
    | {"hugetlb", "secretmem"},
}
"""What the lab kernel of only that architecture has (TCG's s390x has no EDAT for large pages)."""
UNCOUNTED = {"zero", "huge zero"}
NO_MEMORY = "pfnmap"
"""Not in pagemap: walk_page_test() passes over VM_PFNMAP."""
NO_MEMORY_AT = 0x80000000
LACKING = {
    "guard": "MADV_GUARD_INSTALL is younger than the lab kernel (6.13)",
    "hugetlb": "TCG's s390x has no EDAT",
    "secretmem": "s390x 6.1 has no CONFIG_SECRETMEM",
    "userfaultfd write protection": "s390x has no HAVE_ARCH_USERFAULTFD_WP",
    "leaves of 1 GB": "a huge page of 1 GB does not fit into these guests",
    "five levels on x86_64": "the lab kernel has no CONFIG_X86_5LEVEL",
    "DAX": "the lab kernel has no CONFIG_ZONE_DEVICE",
    "hwpoison": "the lab kernel has no CONFIG_MEMORY_FAILURE",
    "device private": "the lab kernel has no CONFIG_DEVICE_PRIVATE",
}
"""Kinds that a lab kernel or its machine may not have, and why."""
NEVER = {"leaves of 1 GB", "five levels on x86_64", "DAX", "hwpoison", "device private"}
READY_SECONDS = 300.0
PAGE = 4096
KPF = {
    "mmap": 11,
    "anon": 12,
    "swapbacked": 14,
    "compound head": 15,
    "compound tail": 16,
    "huge": 17,
    "ksm": 21,
    "thp": 22,
    "zero": 24,
}
"""Bits of /proc/kpageflags (include/uapi/linux/kernel-page-flags.h) that the audit knows, too."""


class Page(NamedTuple):
    """What the guest said of a page: kpagecount and kpageflags."""

    pfn: int
    mapcount: int
    flags: int

    def kinds(self) -> set[str]:
        return {name for name, bit in KPF.items() if self.flags >> bit & 1}


@dataclass
class Told:
    """What the guest said: name of the mapping -> address -> page; whose, from where, pages."""

    maps: dict[str, dict[int, Page]] = field(default_factory=dict)
    areas: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    swapped: int = 0
    lacking: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, console: str) -> Told:
        told, pages = cls(), dict[int, Page]()
        for line in console.splitlines():
            match line.split():
                case ["map", pid, address, count, *name]:
                    pages = told.maps.setdefault(" ".join(name), {})
                    told.areas[" ".join(name)] = int(pid), int(address, 16), int(count)
                case ["no", *name]:
                    told.lacking.add(" ".join(name))
                case ["swapped", count]:
                    told.swapped = int(count)
                case ["page", address, pfn, mapcount, flags]:
                    pages[int(address, 16)] = Page(int(pfn, 16), int(mapcount), int(flags, 16))
        return told


@dataclass(eq=False)
class Guest:
    config: GuestConfig
    vmlinux: Path
    arch: str
    told: Told
    vmcore: Path
    ledger: Ledger
    result: AuditResult

    def pfn(self, name: str) -> int:
        """Of the first page of a mapping."""
        return next(iter(self.told.maps[name].values())).pfn

    def walked(self, name: str) -> dict[int, tuple[int, bool]]:
        """Address -> (pfn, whether it counts), in the mm that has a mapping."""
        return self.walked_of(self.told.areas[name][0])

    @functools.cache  # noqa: B019 -- one guest an architecture
    def walked_of(self, pid: int) -> dict[int, tuple[int, bool]]:
        ledger, walked = self.ledger, self.ledger.walked
        (number,) = [
            number
            for number, mm in enumerate(ledger.mms)
            if any(task.pid == pid for task in mm.tasks)
        ]
        return {
            int(walked.address[leaf]) + 4096 * page: (
                int(walked.pfn[leaf]) + page,
                bool(ledger.normal[leaf]),
            )
            for leaf in np.flatnonzero(walked.mm == number)
            for page in range(int(ledger.sizes[leaf]))
        }


@pytest.fixture(scope="module")
def guest(arch: str, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    folder = tmp_path_factory.mktemp(f"mappings-{arch}")
    row, built = arch_named(arch), kernel.build(arch_named(arch), ignore, flavour="live")
    archive = Archive()
    archive.character_device("/dev/console", 5, 1)
    init = lab.compiled(arch, lab.PROGRAMS / "mappings.c", folder).read_bytes()
    archive.file("/init", init, 0o755)
    initrd = folder / "initrd"
    initrd.write_bytes(archive.finish())
    config = GuestConfig(
        arch=row,
        kernel=built.image,
        initrd=initrd,
        append=f"{row.append} nokaslr secretmem.enable=1",
        console=folder / "console.log",
        disks={"swap": swap_space(folder / "swap")},
    )
    vmcore = folder / "vmcore"
    told = asyncio.run(dumped(config, folder, vmcore))
    standardise(vmcore)
    prog = open_vmcore(vmcore, built.vmlinux)
    result = audit(prog, cpus=cpu_registers(vmcore))
    return Guest(config, built.vmlinux, arch, Told.of(told), vmcore, take(prog, None), result)


def swap_space(path: Path, pages: int = 256) -> Path:
    """What mkswap makes of a disk (union swap_header, include/linux/swap.h).

    In the guest's byte order: the kernel swaps the numbers where it is another one's.
    """
    header = bytearray(PAGE)
    struct.pack_into("<II", header, 1024, 1, pages - 1)  # version, last_page
    header[-10:] = b"SWAPSPACE2"
    path.write_bytes(bytes(header) + bytes(PAGE * (pages - 1)))
    return path


async def dumped(config: GuestConfig, folder: Path, vmcore: Path) -> str:
    """The console of a guest that was dumped when it was ready."""
    async with running(config, folder / "qemu.log") as machine:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while "READY 1" not in (text := console(config)):
            assert asyncio.get_running_loop().time() < deadline, text[-2000:]
            assert await machine.run_until((), 0.2) == "timeout", text[-2000:]
        await machine.dump(vmcore)
    return text


def test_every_kind_was_built(guest: Guest) -> None:
    there = {name for name, pages in guest.told.maps.items() if pages or name == NO_MEMORY}
    assert there >= EVERYWHERE | OF_ARCH[guest.arch]


@pytest.mark.parametrize("kind", sorted(LACKING))
def test_what_could_not_be_built_is_told(guest: Guest, kind: str) -> None:
    assert guest.told.lacking <= {*LACKING, "/proc/sys/vm/nr_hugepages"}
    if kind in guest.told.lacking | NEVER:
        pytest.skip(LACKING[kind])


def test_nothing_is_wrong_and_nothing_is_unseen(guest: Guest) -> None:
    assert guest.result.findings == ()
    assert guest.result.unseen == ()
    assert guest.result.details["zero_page_ptes"] >= 4


def test_every_page_is_where_pagemap_says(guest: Guest) -> None:
    for name, pages in guest.told.maps.items():
        walked = guest.walked(name)
        for address, page in pages.items():
            assert walked[address][0] == page.pfn, f"{name} at {address:#x}"
        _, start, count = guest.told.areas[name]
        mine = {address for address in walked if start <= address < start + PAGE * count}
        assert mine == set(pages) or name == NO_MEMORY, name


def test_where_no_memory_is_nothing_is_counted(guest: Guest) -> None:
    _, start, count = guest.told.areas[NO_MEMORY]
    walked = guest.walked(NO_MEMORY)
    found = [walked[start + PAGE * page] for page in range(count)]
    assert found == [(NO_MEMORY_AT // PAGE + page, False) for page in range(count)]


def test_page_tables_grow_with_the_addresses(guest: Guest) -> None:
    """Of s390x: init has four levels, its child five."""
    if guest.arch != "s390x":
        pytest.skip("x86_64's tables have as many levels as the CPU")
    levels = {task.pid: mm.root.level for mm in guest.ledger.mms for task in mm.tasks}
    child = guest.told.areas["above 8 PB"][0]
    assert (levels[1], levels[child]) == (1, 0)
    assert min(guest.told.maps["above 4 TB"]) == 1 << 42
    assert min(guest.told.maps["above 8 PB"]) == 1 << 53


def test_swap_entries_are_as_many_as_pagemap_says(guest: Guest) -> None:
    """In init and in its child, which fork() gave them to."""
    assert guest.told.swapped == 12
    assert guest.result.details["not_present"]["swap"] == 2 * guest.told.swapped


def test_the_walk_finds_what_drgn_finds_at_every_page_of_every_vma(guest: Guest) -> None:
    ledger = guest.ledger
    walked, (mask, value) = ledger.walked, NOT_PRESENT[guest.arch]
    lowest = walked.level == len(ledger.fmt.levels) - 1
    valid = ~lowest | ((walked.entry & np.uint64(mask)) != np.uint64(value))
    ours = {
        (int(walked.mm[leaf]), int(walked.address[leaf]) + PAGE * page): int(walked.pfn[leaf])
        + page
        for leaf in np.flatnonzero(valid).tolist()
        for page in range(int(ledger.sizes[leaf]))
    }
    theirs = {
        (number, address): pfn
        for number, mm in enumerate(ledger.mms)
        for address, pfn in translations(mm.obj)
    }
    assert ours == theirs
    assert len(theirs) > 200


def test_every_mapcount_is_what_kpagecount_says(guest: Guest) -> None:
    ledger = guest.ledger
    for name, pages in guest.told.maps.items():
        walked = guest.walked(name)
        for address, page in pages.items():
            (index,) = ledger.pages.indices(np.array([page.pfn], np.uint64))
            assert walked[address][1] == (name not in UNCOUNTED), name
            assert ledger.recorded.mapcount[index] == page.mapcount or name == "zero", name
            assert ledger.ptes[index] == page.mapcount, f"{name} at {address:#x}"


def test_every_page_is_of_the_kind_that_kpageflags_says(guest: Guest) -> None:
    ledger = guest.ledger
    recorded, mappings = ledger.recorded, ledger.pages.column("mapping")
    for name, pages in guest.told.maps.items():
        walked = guest.walked(name)
        for address, page in pages.items():
            (index,) = ledger.pages.indices(np.array([page.pfn], np.uint64))
            head = recorded.head[index]
            large = bool(recorded.order[head])
            kinds = {
                "mmap": recorded.mappings[head] > 0,
                "anon": recorded.anon[index],
                # PG_swapbacked is the head's, and kpageflags looks at each page's own flags.
                "swapbacked": recorded.swapbacked[index] and head == index,
                "compound head": large and head == index,
                "compound tail": head != index,
                "huge": recorded.hugetlb[index],
                "ksm": (mappings[head] & np.uint64(MAPPING_FLAGS)) == MAPPING_FLAGS,
                "thp": large and not recorded.hugetlb[index],
                "zero": not walked[address][1],
            }
            found = {kind for kind, there in kinds.items() if there}
            assert found == page.kinds(), f"{name} at {address:#x}"


def test_what_is_shared_is_counted_for_each_who_maps_it(guest: Guest) -> None:
    first, again = guest.told.maps["memfd"], guest.told.maps["memfd again"]
    assert [page.pfn for page in first.values()] == [page.pfn for page in again.values()]
    # fork() copies the page tables of anonymous memory; a file's are filled at faults.
    assert {page.mapcount for page in first.values()} == {2}
    assert {page.mapcount for page in guest.told.maps["anon"].values()} == {2}
    # Eight pages of the same content are one KSM page, in init and in its child.
    ksm = [(page.pfn, page.mapcount) for page in guest.told.maps["ksm"].values()]
    assert ksm == [(guest.pfn("ksm"), 16)] * 8


def test_a_huge_page_is_counted_where_a_pmd_and_where_ptes_map_it(guest: Guest) -> None:
    """init has a PMD of it, its child has split its own."""
    if guest.arch != "x86_64":
        pytest.skip("no huge pages here")
    ledger, (_, start, _) = guest.ledger, guest.told.areas["thp by PMD and PTE"]
    here = ledger.walked.address == np.uint64(start)
    names = [ledger.fmt.levels[level].name for level in ledger.walked.level[here]]
    assert sorted(names) == ["pmd", "pte"]
    assert {page.mapcount for page in guest.told.maps["thp by PMD and PTE"].values()} == {2}


def test_looking_at_a_large_page_names_its_folio(guest: Guest) -> None:
    if guest.arch != "x86_64":
        pytest.skip("no large folios of a known order here")
    address = guest.told.areas["thp"][1] + 5 * PAGE
    (view,) = Looking(judged(guest.ledger.prog)).address(address, 1)
    assert view.page is not None
    assert view.steps[-1].level == "pmd"
    assert view.page.folio["order"] == 9
    assert view.pfn == view.page.pfn == view.page.folio["pfn"] + 5


def test_a_running_guest_is_inspected_through_its_monitor(guest: Guest, tmp_path: Path) -> None:
    """And goes on; a dump of it taken between two looks that agree says the same."""
    config = dataclasses.replace(guest.config, console=tmp_path / "console.log")
    argv = [word for word in command_line(config, tmp_path) if word != "-S"]
    monitor, vmcore = tmp_path / "qmp", tmp_path / "vmcore"

    def told(*words: str | Path) -> AuditResult:
        inspect = [sys.executable, "-m", "zaptrace", "inspect", *words, "--json"]
        inspect += ["--vmlinux", str(guest.vmlinux)]
        done = subprocess.run(inspect, capture_output=True, text=True, timeout=120, check=True)
        jsonschema.validate(json.loads(done.stdout), SCHEMA)
        return AuditResult.from_json(json.loads(done.stdout))

    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as machine:
        try:
            deadline = time.monotonic() + READY_SECONDS
            while "READY 1" not in (text := console(config)):
                assert time.monotonic() < deadline, text[-2000:]
                time.sleep(0.2)
            after = told("--qmp", monitor)
            for _ in range(5):  # ksmd and khugepaged are at work there
                before = after
                vmcore.unlink(missing_ok=True)
                dump = [sys.executable, "-m", "zaptrace", "vm", "dump", str(monitor), str(vmcore)]
                subprocess.run(dump, capture_output=True, timeout=120, check=True)
                after = told("--qmp", monitor)
                if before.ptes == after.ptes:
                    break
            assert machine.poll() is None
        finally:
            machine.kill()
    assert (after.findings, after.unseen) == ((), ())
    assert after.ptes == before.ptes == told(vmcore).ptes
    pages = [page for pages in Told.of(text).maps.values() for page in pages.values()]
    by_pte = [page for page in pages if not page.kinds() & {"thp", "huge", "zero"}]
    assert after.ptes >= len(by_pte) > 50


def console(config: GuestConfig) -> str:
    return config.console.read_text(errors="replace") if config.console.exists() else ""
