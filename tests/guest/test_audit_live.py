"""The audit of guests with one mapping of each kind, against what their kernels said of it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from tests.guest import mappings
from tests.guest.builders import NOT_PRESENT, translations
from tests.guest.mappings import MACHINES, PAGE, READY_SECONDS, Guest, Told, console
from tests.guest.members import Hidden
from tests.guest.planting import overwrite, physical
from vm.qemu import command_line
from zaptrace.audit import audit
from zaptrace.audit.leaks import MAY_BE_HELD
from zaptrace.audit.pagetables.nonpresent import SwapKind
from zaptrace.audit.references import References
from zaptrace.audit.rmap import Place, entry_at
from zaptrace.audit.structpages.table import MAPPING_FLAGS
from zaptrace.memory.open import open_program
from zaptrace.memory.registers import cpu_registers
from zaptrace.model.findings import AuditResult, Finding, FindingClass

pytestmark = pytest.mark.guest
SCHEMA = json.loads((Path(__file__).parents[1] / "schemas/inspect.schema.json").read_text())

EVERYWHERE = {"anon", "shmem", "zero", "prot_none", "ksm", "file", "memfd", "memfd copied"}
EVERYWHERE |= {"userfaultfd", "swapped", "pfnmap"}
UNCOUNTED = {"zero", "huge zero", "DAX"}
NO_MEMORY = "pfnmap"
"""Not in pagemap: walk_page_test() passes over VM_PFNMAP."""
NO_MEMORY_AT = 0x80000000
LACKING = {
    "guard": "MADV_GUARD_INSTALL is younger than the lab kernel (6.13); `make matrix` has it",
    "hugetlb": "TCG's s390x has no EDAT",
    "leaf of 1 GB": "the machine has no EDAT, or no pdpe1gb",
    "above 128 TB": "the machine has four levels",
    "secretmem": "s390x 6.1 has no CONFIG_SECRETMEM",
    "userfaultfd write protection": "s390x has no HAVE_ARCH_USERFAULTFD_WP",
    "DAX": "s390x 6.1 has no ARCH_HAS_PTE_DEVMAP",
    "hwpoison": "s390x 6.1 has no ARCH_SUPPORTS_MEMORY_FAILURE",
    "device private": "s390x 6.1 has no ARCH_HAS_PTE_DEVMAP",
    "device exclusive": "s390x 6.1 has no ARCH_HAS_PTE_DEVMAP",
}
"""Kinds that a lab kernel or its machine may not have, and why."""


@pytest.fixture(scope="module", params=sorted(MACHINES))
def guest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Guest:
    machine = MACHINES[request.param]
    return mappings.boot(machine, tmp_path_factory.mktemp(f"mappings-{machine.arch}"))


def test_every_kind_was_built(guest: Guest) -> None:
    there = {name for name, pages in guest.told.maps.items() if pages or name == NO_MEMORY}
    assert there >= EVERYWHERE | guest.machine.holds


@pytest.mark.parametrize("kind", sorted(LACKING))
def test_what_could_not_be_built_is_reported(guest: Guest, kind: str) -> None:
    assert guest.told.lacking <= {*LACKING, "/proc/sys/vm/nr_hugepages"}
    if kind in guest.told.lacking:
        assert kind not in guest.machine.holds
        pytest.skip(LACKING[kind])


def bugs(result: AuditResult) -> list[Finding]:
    return [found for found in result.findings if found.cls is not FindingClass.IN_FLIGHT]


def told_unseen(result: AuditResult) -> list[tuple[str, int]]:
    return [(gap.what, gap.count) for gap in result.unseen]


def held_by_execve(told: Told) -> tuple[str, int]:
    """What waits in the middle of a page fault may hold a page."""
    return f"{MAY_BE_HELD} init/{told.executing}", 1


def test_nothing_is_wrong_and_nothing_is_unseen_but_what_a_stuck_execve_holds(guest: Guest) -> None:
    assert bugs(guest.result) == []
    assert told_unseen(guest.result) == [held_by_execve(guest.told)]
    assert guest.result.details["zero_page_ptes"] >= 4


def test_entries_of_types_that_are_unknown_raise_no_alarm(guest: Guest) -> None:
    prog = open_program(guest.vmcore, guest.vmlinux)
    Hidden(prog, "swap_info")
    result = audit(prog, cpus=cpu_registers(guest.vmcore)).result()
    assert bugs(result) == []
    assert result.details["not_present"]["unknown"] >= 2 * guest.told.swapped
    assert result.ptes == guest.result.ptes


def test_every_page_is_where_pagemap_says(guest: Guest) -> None:
    for name, pages in guest.told.maps.items():
        walked = guest.walked(name)
        for address, page in pages.items():
            assert walked[address][0] == page.pfn, f"{name} at {address:#x}"
        mine = walked.keys() & set(guest.told.areas[name].told())
        assert mine == set(pages) or name == NO_MEMORY, name


def test_where_no_memory_is_nothing_is_counted(guest: Guest) -> None:
    area, walked = guest.told.areas[NO_MEMORY], guest.walked(NO_MEMORY)
    found = [walked[address] for address in area.told()]
    assert found == [(NO_MEMORY_AT // PAGE + page, False) for page in range(area.pages)]


def test_page_tables_grow_with_the_addresses(guest: Guest) -> None:
    """Of s390x: init has four levels, its child five."""
    if guest.arch != "s390x":
        pytest.skip("x86_64's tables have as many levels as the CPU")
    levels = {task.pid: mm.root.level for mm in guest.state.mms for task in mm.tasks}
    child = guest.told.areas["above 8 PB"].pid
    assert (levels[1], levels[child]) == (1, 0)
    assert min(guest.told.maps["above 4 TB"]) == 1 << 42
    assert min(guest.told.maps["above 8 PB"]) == 1 << 53


def test_swap_entries_are_as_many_as_pagemap_says(guest: Guest) -> None:
    """In init and in its child, which fork() gave them to."""
    assert guest.told.swapped == 12
    assert guest.result.details["not_present"]["swap"] == 2 * guest.told.swapped


def test_who_is_inside_execve_is_in_flight(guest: Guest) -> None:
    """Its arguments lie in the mm to come, and are in the rss of the present one, too."""
    (found,) = guest.result.findings
    assert found.cls is FindingClass.IN_FLIGHT
    assert [owner.pid for owner in found.mappings] == [guest.told.executing]
    assert "execve" in (found.note or "")


def test_entries_that_map_nothing_now_are_distinguished(guest: Guest) -> None:
    """fork() gave them to the child, too, but what a device has for itself came after it."""
    told, found = guest.told.absent, guest.result.details["not_present"]
    assert set(told) == guest.machine.holds & {"hwpoison", "device private", "device exclusive"}
    expected = {
        "hwpoison": 2 * told.get("hwpoison", 0),
        "device_private": 2 * told.get("device private", 0),
        "device_exclusive": told.get("device exclusive", 0),
    }
    assert {kind: found.get(kind, 0) for kind in expected} == expected


def test_a_page_in_a_devices_memory_is_counted_for_each_who_maps_it(guest: Guest) -> None:
    """Its entries are not present, yet its mapcount is 2."""
    if "device private" not in guest.machine.holds:
        pytest.skip(LACKING["device private"])
    absent, state = guest.state.absent, guest.state
    pfns = np.unique(absent.pfn[absent.kind == SwapKind.DEVICE_PRIVATE])
    where = state.pages.indices(pfns)
    assert len(pfns) == guest.told.absent["device private"]
    assert state.ptes[where].tolist() == state.recorded.mapcount[where].tolist() == [2] * 5


def test_a_leaf_of_a_gigabyte_and_tables_of_five_levels_are_walked(guest: Guest) -> None:
    """Under the user's own tables (PTI), of which mm->pgd is not one."""
    if "leaf of 1 GB" not in guest.machine.holds:
        pytest.skip("another machine has them")
    state = guest.state
    here = state.walked.address == np.uint64(guest.told.areas["leaf of 1 GB"].start)
    names = [state.fmt.levels[level].name for level in state.walked.level[here]]
    assert names == ["pud", "pud"]
    assert len(state.fmt.levels) == 5
    assert min(guest.told.maps["above 128 TB"]) == 1 << 48
    assert "isolation: enabled" in console(guest.config)


def test_the_walk_finds_what_drgn_finds_at_every_page_of_every_vma(guest: Guest) -> None:
    state = guest.state
    walked, (mask, value) = state.walked, NOT_PRESENT[guest.arch]
    lowest = walked.level == len(state.fmt.levels) - 1
    valid = ~lowest | ((walked.entry & np.uint64(mask)) != np.uint64(value))
    ours = {
        (int(walked.mm[leaf]), int(walked.address[leaf]) + PAGE * page): int(walked.pfn[leaf])
        + page
        for leaf in np.flatnonzero(valid).tolist()
        for page in range(int(state.sizes[leaf]))
    }
    theirs = {
        (number, address): pfn
        for number, mm in enumerate(state.mms)
        for address, pfn in translations(mm.obj)
    }
    assert ours == theirs
    assert len(theirs) > 200


def test_every_mapcount_is_what_kpagecount_says(guest: Guest) -> None:
    state = guest.state
    for name, pages in guest.told.maps.items():
        walked = guest.walked(name)
        for address, page in pages.items():
            (index,) = state.pages.indices(np.array([page.pfn], np.uint64))
            assert walked[address][1] == (name not in UNCOUNTED), name
            assert state.recorded.mapcount[index] == page.mapcount or name == "zero", name
            assert state.ptes[index] == page.mapcount, f"{name} at {address:#x}"


def test_every_page_has_the_kind_that_kpageflags_says(guest: Guest) -> None:
    state = guest.state
    recorded, mappings = state.recorded, state.pages.column("mapping")
    # From 6.10 on kpageflags tested for one of two bits, and called all anonymous pages KSM, until
    # that was fixed in 6.17.
    anon = guest.told.maps["anon"].values()
    wrong = {"ksm"} if any("ksm" in page.kinds() for page in anon) else set()
    for name, pages in guest.told.maps.items():
        walked = guest.walked(name)
        for address, page in pages.items():
            (index,) = state.pages.indices(np.array([page.pfn], np.uint64))
            head = recorded.head[index]
            large = bool(recorded.order[head])
            kinds = {
                "mmap": recorded.mappings[head] > 0,
                "anon": recorded.anon[index],
                "swapbacked": recorded.swapbacked[index] and head == index,
                "compound head": large and head == index,
                "compound tail": head != index,
                "huge": recorded.hugetlb[index],
                "ksm": (mappings[head] & np.uint64(MAPPING_FLAGS)) == MAPPING_FLAGS,
                "thp": large and not recorded.hugetlb[index],
                "zero": not walked[address][1] and name != "DAX",
            }
            found = {kind for kind, there in kinds.items() if there}
            # PG_swapbacked is the head's.  kpageflags looks at each page's own flags, at the
            # folio's since "proc: rewrite stable_page_flags()" (6.10).
            told = page.kinds() - ({"swapbacked"} if head != index else set())
            assert found - wrong == told - wrong, f"{name} at {address:#x}"


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
    state, start = guest.state, guest.told.areas["thp by PMD and PTE"].start
    here = state.walked.address == np.uint64(start)
    names = [state.fmt.levels[level].name for level in state.walked.level[here]]
    assert sorted(names) == ["pmd", "pte"]
    assert {page.mapcount for page in guest.told.maps["thp by PMD and PTE"].values()} == {2}


def test_looking_at_a_large_page_names_its_folio(guest: Guest) -> None:
    if guest.arch != "x86_64":
        pytest.skip("no large folios of a known order here")
    address = guest.told.areas["thp"].start + 5 * PAGE
    (view,) = audit(guest.state.prog).inspect().address(address, 1)
    assert view.page is not None
    assert view.page.folio is not None
    assert view.steps[-1].level == "pmd"
    assert view.page.folio["order"] == 9
    assert view.pfn == view.page.pfn == view.page.folio["pfn"] + 5


def test_a_running_guest_is_inspected_through_its_monitor(guest: Guest, tmp_path: Path) -> None:
    """And continues; a dump taken between two audits that agree says the same."""
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
    assert (bugs(after), told_unseen(after)) == ([], [held_by_execve(Told.of(text))])
    assert after.ptes == before.ptes == told(vmcore).ptes
    pages = [page for pages in Told.of(text).maps.values() for page in pages.values()]
    by_pte = [page for page in pages if not page.kinds() & {"thp", "huge", "zero"}]
    assert after.ptes >= len(by_pte) > 50


def test_every_reference_is_accounted_for_but_the_one_that_a_stuck_execve_holds(
    guest: Guest,
) -> None:
    """copy_strings() (fs/exec.c) keeps the page that it copies to while it waits for a fault."""
    audited = audit(open_program(guest.vmcore, guest.vmlinux))
    references = References(audited.state, audited.owners)
    heads, _ = references.excess()
    left = [
        account for account in map(references.account, heads.tolist()) if account.unexplained > 0
    ]
    assert [account.unexplained for account in left] == [1]
    assert FindingClass.REFCOUNT_LEAKED not in {one.cls for one in guest.result.findings}


def test_a_shared_anonymous_page_that_a_pte_may_write_is_found(guest: Guest) -> None:
    """A COW that reuses a shared page, a fork that leaves it writable: no counter is wrong."""
    prog = open_program(guest.vmcore, guest.vmlinux)
    state = audit(prog, cpus=cpu_registers(guest.vmcore)).state
    small = np.arange(state.walked.large, len(state.first))
    small = small[state.counted[small]]
    index = state.first[small]
    shared = (state.ptes[index] > 1) & state.recorded.anon[state.recorded.head[index]]
    at_rest = ~np.isin(state.walked.mm[small], list(state.in_flight))
    leaf = int(small[shared & at_rest][0])
    place = Place(int(state.walked.mm[leaf]), int(state.walked.address[leaf]))
    at, may_write = entry_at(state, place), state.fmt.tables.writable
    assert at is not None
    entry = physical(prog, at)
    assert entry & may_write == 0
    overwrite(prog, at, entry | may_write)
    (finding,) = bugs(audit(prog, cpus=cpu_registers(guest.vmcore)).result())
    assert finding.cls is FindingClass.WRITABLE_BUT_SHARED
    assert finding.pfn == int(state.walked.pfn[leaf])
    assert (finding.mappings[0].address, finding.mappings[0].entry_at) == (place.address, at)
    assert finding.ptes == len(finding.mappings) > 1
    assert str(finding.note).startswith(f"its PTE at {place.address:#x} may write, and ")
