"""The audit of clean kernels that were stopped while they make a huge page of small ones.

collapse_huge_page() takes the table of PTEs away before it removes 512 rmaps, and
collapse_pte_mapped_thp() removes rmaps before it takes the table away; either holds the mm's
mmap_lock for writing, and for most of the time no page-table lock.  x86_64 only: TCG's s390x has
no EDAT, hence no huge pages.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.guest import lab
from tests.guest.builders import Dump
from vm import host, lab_kernel
from vm.qemu import GuestConfig, running
from zaptrace.arch import arch_named
from zaptrace.memory.vmcore import standardise
from zaptrace.model.findings import Finding, FindingClass
from zaptrace.model.progress import ignore

pytestmark = pytest.mark.guest

READY_SECONDS = 300.0


def stopped(kind: str, function: str, folder: Path) -> Dump:
    """A guest stopped at a function's first instruction, the first time that the collapse of
    `kind` calls it."""
    row = arch_named("x86_64")
    built = lab_kernel.build(row, ignore)
    source, words = lab.PROGRAMS / "collapse.c", f"zapfault=none -- {kind}"
    config = lab.config_of(row, built, source, folder, words, memory="256M")
    vmcore = folder / "vmcore"
    asyncio.run(dumped(config, address_of(built.vmlinux, function), folder, vmcore))
    standardise(vmcore)
    return Dump(vmcore, built.vmlinux)


def address_of(vmlinux: Path, function: str) -> int:
    """Of its first instruction."""
    lines = (line.split() for line in host.output("nm", str(vmlinux)).splitlines())
    (address,) = [words[0] for words in lines if words[1:] == ["T", function]]
    return int(address, 16)


async def dumped(config: GuestConfig, address: int, folder: Path, vmcore: Path) -> None:
    async with running(config, folder / "qemu.log") as guest:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while "NOW" not in (text := config.console.read_text(errors="replace")):
            assert asyncio.get_running_loop().time() < deadline, text[-2000:]
            assert await guest.run_until((), 0.1) == "timeout", text[-2000:]
        assert "no " not in text[text.index("Run /init") :]
        assert await guest.run_until([address], 120) == "breakpoint"
        await guest.dump(vmcore)


def in_flight(dump: Dump) -> list[Finding]:
    return [found for found in dump.result.findings if found.cls is FindingClass.IN_FLIGHT]


def test_pages_whose_table_was_taken_away_are_in_flight(tmp_path: Path) -> None:
    """At the first of 512 rmap removals of __collapse_huge_page_copy()."""
    dump = stopped("anon", "page_remove_rmap", tmp_path)
    assert dump.bugs == []
    lost = [found for found in in_flight(dump) if found.pfn is not None]
    assert {(found.ptes, found.mapcount) for found in lost} == {(0, 1)}
    assert len(lost) == 512
    assert dump.result.details["mms_in_flight"] == 1


def test_ptes_whose_rmaps_were_removed_are_in_flight(tmp_path: Path) -> None:
    """Behind step 3 of collapse_pte_mapped_thp(): the table of PTEs still is in its place."""
    dump = stopped("file", "pmdp_collapse_flush", tmp_path)
    assert dump.bugs == []
    left = [found for found in in_flight(dump) if found.pfn is not None]
    assert {(found.ptes, found.mapcount) for found in left} == {(1, 0)}
    assert len(left) == 512
    assert "may be collapsing a huge page" in str(left[0].note)
