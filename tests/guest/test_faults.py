"""Every fault of the lab kernel: the audit finds what its victim was struck with, and names it.

The truth is what the victims said on the console before they were struck (vm/guest/victim.c),
from their own /proc/self/pagemap.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.guest.conftest import Boot, boot
from tests.guest.shared_runs import SharedRuns
from tests.victims import (
    FREE,
    HELD,
    LEFT,
    REFS,
    RSS,
    STRIKING,
    UNDER,
    Victim,
    left_in_page,
    victims,
    was_struck_again,
)
from vm import initramfs, lab_kernel
from vm.qemu import Guest, GuestConfig, running
from zaptrace.arch import ARCHES
from zaptrace.audit import audit
from zaptrace.audit.leaks import MAY_BE_HELD
from zaptrace.capture.reader import read
from zaptrace.memory.open import open_program
from zaptrace.memory.registers import cpu_registers
from zaptrace.memory.vmcore import standardise
from zaptrace.model.events import Kind
from zaptrace.model.findings import AuditResult, Finding, FindingClass
from zaptrace.model.progress import ignore
from zaptrace.model.verdict import VerdictKind
from zaptrace.runs.repro import Request

pytestmark = pytest.mark.guest

FATAL = ("twice",)
"""The kernel's own check ends the victim, and zaptrace the guest."""
MOVING = ("migrate",)
"""It moves the pages of the other victims as well."""
TOGETHER = [name for name in STRIKING if name not in (*FATAL, *MOVING)]
ELSEWHERE = TOGETHER[TOGETHER.index("cow") :]
"""Faults of other functions than the zap."""
OF_THE_ZAP = STRIKING[: STRIKING.index("cow")]
LOAD_STOPS = 8
THREE = ("leak", "stale-large", "rss")

LOST_PTE = ("mprotect", "mremap")
"""Their mm counts the page, too."""

STOPPED = {
    "leak": REFS,
    "leak-large": REFS,
    "underflow": UNDER,
    "underflow-large": UNDER,
    "stale": UNDER,
    "overput": FREE,
    "overput-large": FREE,
    "cow": REFS,
    "fork": UNDER,
    "pipe": FREE,
    "scribble": REFS,
    "migrate": UNDER,
}
"""What the loud page is at the first instruction of bad_page(), before that resets its count."""


def victims_of(run: Path) -> list[Victim]:
    return victims((run / "console.log").read_text(errors="replace"))


def audit_of(run: Path) -> AuditResult:
    return AuditResult.from_json(json.loads((run / "audit.json").read_text()))


def bugs_of(run: Path) -> list[Finding]:
    return [one for one in audit_of(run).findings if one.cls is not FindingClass.IN_FLIGHT]


def left_open(run: Path) -> int:
    """How many folios the audit did not judge, a task that ran when all was over being one that
    may hold them."""
    gaps = [one for one in audit_of(run).unseen if one.what.startswith(MAY_BE_HELD)]
    return sum(one.count for one in gaps)


def struck(arch: str, folder: Path, *faults: str) -> Boot:
    return boot(Request(arch, fault=",".join(faults), stop_at="exit", folder=folder / "run"))


def check(run: Boot, *faults: str) -> None:
    """All that the victims said is found, and nothing else."""
    said, bugs = victims_of(run.path), bugs_of(run.path)
    wanted = Counter(key for key in LEFT if key[0] in faults)
    assert Counter((one.fault, one.evidence) for one in said) == wanted
    print(audit_of(run.path).unseen)
    unjudged = [one for one in said if LEFT[one.fault, one.evidence][0] == {HELD}]
    unjudged = unjudged if left_open(run.path) else []
    assert left_open(run.path) >= len(unjudged)
    for victim in said:
        if victim not in unjudged:
            _check_victim(victim, bugs, said)
    _check_nothing_else(said, bugs)
    assert "zaptrace: workload ended with 0" in run.console.read_text(errors="replace")
    if not any("large" in fault for fault in faults):
        _check_frees(run)
    run.vmcore.unlink()


def _check_frees(run: Boot) -> None:
    """The free of each bad page was seen, in a batch too; large folios are judged by their head.

    Frees of pages that nothing counts as mapped are not recorded.
    """
    events = read(run.capture)
    bad, freed = (events.of_kind(kind) for kind in (Kind.BAD_PAGE, Kind.PAGE_FREE))
    bad, freed = bad["page"][bad["raw_mapcount"] != -1], freed["page"]
    unseen = set(bad.tolist()) - set(freed.tolist())
    assert len(unseen) <= events.lost, f"{len(unseen)} bad pages of {len(bad)} without their free"


def _check_nothing_else(said: list[Victim], bugs: list[Finding]) -> None:
    """One cause, one finding: every one is about a page (rss: an mm) that a victim named."""
    pages = {one.pfn for one in said} | {one.head for one in said if "large" in one.fault}
    pages |= {pfn for one in said for pfn in one.freed}
    mms = {one.pid for one in said if one.fault.startswith("rss") or one.fault in LOST_PTE}
    for bug in bugs:
        known = bug.mappings[0].pid in mms if bug.cls is RSS else bug.pfn in pages
        assert known, f"not about a victim: {bug}"


def _check_victim(victim: Victim, bugs: list[Finding], said: list[Victim]) -> None:
    page, head = LEFT[victim.fault, victim.evidence]
    if RSS in page:
        (found,) = [bug for bug in bugs if bug.cls is RSS and bug.mappings[0].pid == victim.pid]
        assert found.mappings[0].comm == victim.fault
        return
    here = [bug for bug in bugs if bug.pfn == victim.pfn]
    left = left_in_page(victim.pfn, said)
    if was_struck_again(victim.pfn, said):
        assert {bug.cls for bug in here} <= left, (victim, here)
        return
    assert len(here) == bool(left), (victim, here)
    for bug in here:
        assert bug.cls in left, (victim, bug)
        if (victim.fault in LOST_PTE and victim.evidence == "exit") or victim.evidence == "lost":
            continue  # its mm is gone, or its mapping
        if page:
            _check_owner(victim, bug)
    if head and not was_struck_again(victim.head, said):
        (bug,) = [bug for bug in bugs if bug.pfn == victim.head]
        assert bug.cls in head
        assert (victim.pid, victim.fault) in {(owner.pid, owner.comm) for owner in bug.mappings}


def _check_owner(victim: Victim, bug: Finding) -> None:
    owner = next(owner for owner in bug.mappings if owner.pid == victim.pid)
    assert (owner.comm, owner.address) == (victim.fault, victim.address)


@pytest.mark.parametrize("fault", [*OF_THE_ZAP, *MOVING])
def test_each_fault_is_found_and_its_victim_named(arch: str, fault: str, tmp_path: Path) -> None:
    check(struck(arch, tmp_path, fault), fault)


def test_faults_of_other_functions_are_found_too(arch: str, tmp_path: Path) -> None:
    """In one boot: what each of them leaves, and to whom."""
    check(struck(arch, tmp_path, *ELSEWHERE), *ELSEWHERE)


def test_a_put_of_a_free_page_ends_the_victim_and_leaves_nothing(arch: str, tmp_path: Path) -> None:
    run = struck(arch, tmp_path, *FATAL)
    (said,) = victims_of(run.path)
    assert (said.fault, said.evidence) in LEFT and bugs_of(run.path) == []
    assert run.result.verdict.kind is VerdictKind.FREED_TWICE
    assert run.result.verdict.pfn == said.pfn


@pytest.mark.parametrize("fault", STOPPED)
def test_the_page_of_a_report_is_found_as_it_was(arch: str, fault: str, shared: SharedRuns) -> None:
    run = shared.run(arch, fault)
    said, bugs = victims_of(run), bugs_of(run)
    (loud,) = [victim for victim in said if victim.evidence == "loud"]
    (bug,) = [bug for bug in bugs if bug.pfn == loud.pfn]
    assert bug.cls is STOPPED[fault]
    _check_owner(loud, bug)
    _check_nothing_else(said, bugs)


def test_three_faults_at_once_are_distinguished(arch: str, tmp_path: Path) -> None:
    check(struck(arch, tmp_path, *THREE), *THREE)


def test_all_faults_at_once_are_distinguished(arch: str, tmp_path: Path) -> None:
    check(struck(arch, tmp_path, *TOGETHER), *TOGETHER)


def test_a_clean_guest_under_load_has_no_finding(arch: str, tmp_path: Path) -> None:
    """Stopped anywhere, again and again, while processes come, map, fork and go."""
    vmlinux = lab_kernel.build(ARCHES[arch], ignore).vmlinux
    for vmcore in asyncio.run(stopped_under_load(arch, tmp_path)):
        standardise(vmcore)
        result = audit(open_program(vmcore, vmlinux), cpus=cpu_registers(vmcore)).result()
        assert [one for one in result.findings if one.cls is not FindingClass.IN_FLIGHT] == []
        # A task that runs may hold references of its own; nothing else is left out.
        assert all(gap.what.startswith(MAY_BE_HELD) for gap in result.unseen), result.unseen
        vmcore.unlink()


async def stopped_under_load(arch: str, folder: Path) -> list[Path]:
    row = ARCHES[arch]
    config = GuestConfig(
        arch=row,
        kernel=lab_kernel.build(row, ignore).image,
        initrd=initramfs.build(row),
        append=f"{row.append} nokaslr zapfault=none zaptrace.do=load",
        console=folder / "console.log",
        memory="256M",
    )
    dumps: list[Path] = []
    async with running(config, folder / "qemu.log") as guest:
        while b"workload begins" not in config.console.read_bytes():
            assert await guest.run_until((), 0.05) == "timeout"
        for number in range(LOAD_STOPS):
            if number % 4 == 3:  # the load continues: another workload ends
                await _another_ended(guest, config.console)
            assert await guest.run_until((), 0.2 + 0.03 * number) == "timeout"
            dumps.append(folder / f"vmcore{number}")
            await guest.dump(dumps[-1])
    return dumps


async def _another_ended(guest: Guest, console: Path) -> None:
    """Let the guest run until one more workload has ended well, however slow it is."""
    ended = b"workload ended with 0"
    before, deadline = console.read_bytes().count(ended), time.monotonic() + 300
    while console.read_bytes().count(ended) == before:
        assert time.monotonic() < deadline, "no workload ended"
        assert await guest.run_until((), 0.2) == "timeout"
