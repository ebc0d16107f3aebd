"""The audit of real kernels, against drgn, the kernel's own statistics and the capture."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.mm import pfn_to_page, vma_find
from drgn.helpers.linux.percpu import per_cpu_ptr
from drgn.helpers.linux.pid import find_task, for_each_task
from drgn.helpers.linux.slab import slab_cache_for_each_allocated_object

import zaptrace
import zaptrace.cli
from tests.guest.builders import NOT_PRESENT, Dump, translations
from tests.guest.conftest import Boot
from tests.guest.perpage import no_call_per_page
from tests.guest.planting import overwrite
from vm.qemu import GuestConfig, running
from zaptrace.arch import ARCHES
from zaptrace.audit import audit
from zaptrace.audit.leaks import MAY_BE_HELD
from zaptrace.audit.mms import vma_at
from zaptrace.audit.pagetables.translate import EntryKind
from zaptrace.audit.state import read_state
from zaptrace.audit.structpages.pcp_lists import on_cpu_lists
from zaptrace.audit.unlike_vma import UNREADABLE
from zaptrace.capture.reader import read
from zaptrace.memory.open import open_program
from zaptrace.memory.registers import cpu_registers
from zaptrace.memory.vmcore import standardise
from zaptrace.model.errors import BadInput
from zaptrace.model.events import Kind
from zaptrace.model.findings import AuditResult, Finding, FindingClass, Owner
from zaptrace.runs.folder import RunFolder

pytestmark = pytest.mark.guest

CPUS = 2
"""Of every guest here."""
SCRIPT = Path(zaptrace.cli.__file__).with_name("drgn_audit.py")


@pytest.fixture(scope="module")
def bug(founding: Boot) -> Dump:
    return Dump(founding.vmcore, founding.vmlinux)


@pytest.fixture(scope="module")
def clean(clean_exit: Boot) -> Dump:
    return Dump(clean_exit.vmcore, clean_exit.vmlinux)


@pytest.fixture(params=["bug", "clean"])
def dump(arch: str, request: pytest.FixtureRequest) -> Dump:
    """Of each architecture (the requested fixture depends on `arch`)."""
    found: Dump = request.getfixturevalue(request.param)
    return found


def refused_page(bug: Dump, founding: Boot) -> Finding:
    """About the page that bad_page() was given."""
    refused = read(founding.capture).of_kind(Kind.BAD_PAGE)[0]
    (finding,) = [found for found in bug.bugs if found.pfn == refused["pfn"]]
    return finding


def test_the_founding_bug_is_a_finding_on_the_page_that_bad_page_was_given(
    bug: Dump, founding: Boot
) -> None:
    refused = read(founding.capture).of_kind(Kind.BAD_PAGE)[0]
    finding = refused_page(bug, founding)
    # The other CPU may have been stopped between a free and its removal, too.
    assert len(bug.bugs) <= CPUS
    assert {found.cls for found in bug.bugs} == {FindingClass.REFCOUNT_BELOW_MAPCOUNT}
    assert (finding.ptes, finding.mapcount, finding.refcount) == (0, 1, 0)
    assert finding.raw_mapcount == refused["raw_mapcount"] == 0


def test_the_founding_finding_names_who_had_the_page_mapped_and_where(
    bug: Dump, founding: Boot
) -> None:
    events = read(founding.capture)
    refused = events.of_kind(Kind.BAD_PAGE)[0]
    (owner,) = refused_page(bug, founding).mappings
    if owner.pid is None:
        assert is_of_no_task(bug, owner)
    else:
        assert owner.pid == refused["tgid"]
        assert owner.comm is not None
        assert owner.comm.encode() == refused["comm"]
    assert owner.address is not None
    assert owner.vma is not None
    start, end = (int(bound, 16) for bound in owner.vma.split()[0].split("-"))
    assert start <= owner.address < end
    zaps = events.of_kind(Kind.ZAP)
    last = zaps[(zaps["pid"] == refused["pid"]) & (zaps["clock"] < refused["clock"])][-1]
    assert owner.address < last["end"]


def is_of_no_task(bug: Dump, owner: Owner) -> bool:
    """Whether no task has the mm: that of an execve() that is given up, with the new stack."""
    tasks = for_each_task(bug.prog)
    return all(owner.mm not in (task.mm.value_(), task.active_mm.value_()) for task in tasks)


def test_the_mm_that_is_being_zapped_is_in_flight(bug: Dump, founding: Boot) -> None:
    """And at most one more, the other CPU's."""
    finding = refused_page(bug, founding)
    (owner,) = finding.mappings
    busy = bug.result.details["in_flight"]
    assert owner.mm in busy
    assert len(busy) == bug.result.details["mms_in_flight"] <= CPUS
    for found in bug.result.findings:
        assert {mapping.mm for mapping in found.mappings} <= set(busy)
    assert "inside this mm's page tables" in str(finding.note)
    # x86_64's locks do not name their holder: two CPUs inside page tables are not distinguished.
    if founding.arch == "s390x":
        assert "unmap_page_range" in str(finding.note)


def test_a_clean_kernel_has_no_finding_and_nothing_is_left_unseen(clean: Dump) -> None:
    assert clean.result.findings == ()
    assert clean.result.unseen == ()
    assert clean.result.ptes > 100
    assert clean.result.mms >= 2


def test_the_json_is_the_schemas(dump: Dump) -> None:
    schema = Path(__file__).parents[1] / "schemas/inspect.schema.json"
    jsonschema.validate(dump.result.to_json(), json.loads(schema.read_text()))


def test_every_mm_that_drgn_finds_in_the_slab_is_walked(dump: Dump) -> None:
    cache = dump.prog["mm_cachep"]
    there = {
        mm.value_()
        for mm in slab_cache_for_each_allocated_object(cache, "struct mm_struct")
        if mm.mm_count.counter > 0 and mm.pgtables_bytes.counter > 0
    }
    assert {mm.address for mm in dump.state.mms} == there


def test_drgn_is_not_asked_page_by_page(dump: Dump) -> None:
    with no_call_per_page():
        assert audit(dump.prog).result().mms == len(dump.state.mms)


def test_the_walk_finds_what_drgn_finds_at_every_page_of_every_vma(dump: Dump) -> None:
    state = dump.state
    walked = state.walked
    # drgn goes by the hardware's bit; the kernel keeps old pages invalid but present.
    mask, value = NOT_PRESENT[state.fmt.arch]
    valid = (walked.entry & np.uint64(mask)) != np.uint64(value)
    columns = (walked.mm[valid], walked.address[valid], walked.pfn[valid])
    ours = set(zip(*(column.tolist() for column in columns), strict=True))
    theirs = {
        (number, address, pfn)
        for number, mm in enumerate(state.mms)
        for address, pfn in translations(mm.obj)
    }
    assert ours == theirs
    assert len(theirs) > 100


def test_the_counters_are_those_that_drgn_reads_page_by_page(dump: Dump) -> None:
    state = dump.state
    mapped = np.flatnonzero(state.ptes)
    assert len(mapped) > 50
    for index, pfn in zip(mapped.tolist(), state.pages.pfns(mapped).tolist(), strict=True):
        page = pfn_to_page(dump.prog, pfn)
        assert state.recorded.raw_mapcount[index] == page._mapcount.counter.value_()
        assert state.recorded.refcount[index] == page._refcount.counter.value_()


def test_the_free_pages_are_as_many_as_the_kernel_says(clean: Dump) -> None:
    """free_area.nr_free counts the buddy allocator's blocks, per_cpu_pages.count pages on lists."""
    prog, state = clean.prog, clean.state
    zones = list(prog["contig_page_data"].node_zones)
    in_buddy = sum(
        area.nr_free.value_() << order
        for zone in zones
        for order, area in enumerate(zone.free_area)
    )
    on_lists = sum(
        per_cpu_ptr(zone.per_cpu_pageset, cpu).count.value_()
        for zone in zones
        if zone.present_pages
        for cpu in for_each_possible_cpu(prog)  # a power-off takes CPUs off line
    )
    listed, broken = on_cpu_lists(prog, state.pages)
    assert broken == 0
    assert 0 < len(listed) <= on_lists  # an entry of a higher order is several pages
    assert np.count_nonzero(state.recorded.free) == in_buddy + len(listed)


@pytest.mark.parametrize("seed", range(3))
def test_a_dump_full_of_garbage_gets_an_answer_or_one_clear_error(
    seed: int, founding: Boot, tmp_path: Path
) -> None:
    broken = tmp_path / "vmcore"
    shutil.copyfile(founding.vmcore, broken)
    rng = random.Random(seed)
    with broken.open("r+b") as file:
        for _ in range(5000 << 2 * seed):
            file.seek(rng.randrange(1 << 12, 24 << 20) & ~7)
            file.write(rng.choice([rng.randbytes(8), rng.randrange(1 << 29).to_bytes(8, "big")]))
    try:
        prog = open_program(broken, founding.vmlinux)
        result = audit(prog, cpus=cpu_registers(broken)).result()
    except BadInput as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert result.findings


def test_a_vma_that_does_not_hold_the_address_where_its_tree_has_it_is_no_evidence(
    founding: Boot,
) -> None:
    """Its start is behind its end: what its pages' PTEs may be is not known."""
    prog = open_program(founding.vmcore, founding.vmlinux)
    mm = find_task(prog, 1).mm
    address, _ = next(translations(mm))
    start = vma_find(mm, address).vm_start.address_of_().value_()
    overwrite(prog, start, 1 << 50, physical=False)
    owner = next(one for one in read_state(prog, None).mms if one.address == mm.value_())
    with pytest.raises(ValueError, match="is 0x4000000000000-"):
        vma_at(owner, address)
    result = audit(prog, cpus=cpu_registers(founding.vmcore)).result()
    assert UNREADABLE in {gap.what for gap in result.unseen}
    excluded = {FindingClass.WRONG_FILE_PAGE, FindingClass.WRITABLE_NOT_OWN}
    assert not excluded & {found.cls for found in result.findings}


@pytest.mark.parametrize("event", ["zap", "rmap_remove", "page_free"])
def test_a_clean_kernel_stopped_inside_a_zap_has_no_bug(
    event: str, founding: Boot, tmp_path: Path
) -> None:
    """At the start of a zap, between PTE and rmap, and on a page's way to the allocator."""
    sites = [site for site in founding.plan.sites if site.event == event]
    addresses = [site.address for site in sites if site.address is not None]
    assert addresses
    dumps = asyncio.run(stop_at(founding, addresses, tmp_path, stops=3))
    busy = 0
    for vmcore in dumps:
        standardise(vmcore)
        stopped = Dump(vmcore, founding.vmlinux)
        assert stopped.bugs == []
        # The task that was stopped may hold references of its own; nothing else is left out.
        unseen = stopped.result.unseen
        assert all(gap.what.startswith(MAY_BE_HELD) for gap in unseen), unseen
        busy += stopped.result.details["mms_in_flight"]
    if event == "rmap_remove":
        assert busy, "an rmap removal without a page-table lock"


async def stop_at(founding: Boot, addresses: list[int], folder: Path, stops: int) -> list[Path]:
    facts = RunFolder(founding.path).facts()
    assert facts.initrd is not None
    config = GuestConfig(
        arch=ARCHES[facts.arch],
        kernel=Path(facts.kernel),
        initrd=Path(facts.initrd),
        # With load: its work must not be done before the last stop.
        append=f"{ARCHES[facts.arch].append} nokaslr zapfault=none zaptrace.do=load",
        console=folder / "console.log",
        memory="256M",
    )
    dumps: list[Path] = []
    async with running(config, folder / "qemu.log") as guest:
        # Not before user space: pages are freed long before a dump of them can be opened.
        while b"Run /init" not in config.console.read_bytes():
            assert await guest.run_until((), 0.05) == "timeout"
        for number in range(stops):
            assert await guest.run_until(addresses, 300) == "breakpoint"
            for address in addresses:
                await guest.clear_breakpoint(address)
            dumps.append(folder / f"vmcore{number}")
            await guest.dump(dumps[-1])
            await guest.run_until((), 0.03)
    return dumps


def test_looking_at_the_founding_page_and_address_gives_the_same_story(
    bug: Dump, founding: Boot
) -> None:
    inspector = audit(bug.prog, cpus=cpu_registers(bug.vmcore)).inspect()
    finding = refused_page(bug, founding)
    assert finding.pfn is not None
    page = inspector.page(finding.pfn)
    assert page.finding == finding
    (owner,) = finding.mappings
    assert owner.address is not None
    if owner.pid is None:
        assert is_of_no_task(bug, owner)
        pytest.skip("the page refused first was an execve()'s, whose mm no task has")
    ways = inspector.address(owner.address, owner.pid)
    (way,) = [view for view in ways if view.owner.mm == owner.mm]
    assert way.steps[-1].kind is EntryKind.EMPTY
    (process,) = [view for view in inspector.process(owner.pid) if view.owner.mm == owner.mm]
    assert finding in process.findings
    with pytest.raises(BadInput, match="no process 4000000"):
        inspector.process(4000000)


def test_every_mapped_address_leads_to_the_page_that_the_walk_found(clean: Dump) -> None:
    inspector = audit(clean.prog).inspect()
    walked = inspector.state.walked
    for leaf in range(0, len(walked.pfn), 7):
        address = int(walked.address[leaf])
        views = inspector.address(address, None)
        wanted = inspector.state.mms[int(walked.mm[leaf])].address
        (view,) = [view for view in views if view.owner.mm == wanted]
        assert view.pfn == walked.pfn[leaf]
        assert view.steps[-1].entry == walked.entry[leaf]


def test_a_dumps_data_frames_say_what_the_audit_says(bug: Dump, founding: Boot) -> None:
    frames = zaptrace.open_vmcore(bug.vmcore, bug.vmlinux)
    assert frames.findings["class"].tolist() == [one.cls.value for one in bug.result.findings]
    finding = refused_page(bug, founding)
    page = frames.pages.loc[finding.pfn]
    assert (page.ptes, page.mapcount, page.refcount) == (0, 1, 0)
    assert page.finding == finding.cls.value
    assert len(frames.pages) == len(bug.state.pages)
    assert int(frames.pages.ptes.sum()) == bug.result.ptes == int(frames.ptes.normal.sum())
    assert set(frames.ptes.pid.dropna()) >= {1}


def test_the_script_for_drgn_says_what_inspect_says(founding: Boot, bug: Dump) -> None:
    drgn_itself = Path(sys.executable).with_name("drgn")
    argv: list[str | Path] = [drgn_itself, "-q", "-c", founding.vmcore, "-s", founding.vmlinux]
    # Not from our own folder: the script has to find zaptrace by itself.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    told = subprocess.run(
        [*argv, SCRIPT, "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        cwd="/",
        check=True,
    )
    findings = AuditResult.from_json(json.loads(told.stdout)).findings
    assert {(found.cls, found.pfn) for found in findings} == {
        (found.cls, found.pfn) for found in bug.result.findings
    }


def test_the_shell_has_the_kernel_and_our_helpers(founding: Boot, bug: Dump) -> None:
    finding = refused_page(bug, founding)
    argv: list[str | Path] = [sys.executable, "-m", "zaptrace", "inspect", founding.vmcore]
    argv += ["--vmlinux", founding.vmlinux, "--shell"]
    typed = f"view = page({finding.pfn})\nprint('refs', view.refcount, prog['UTS_RELEASE'])\n"
    told = subprocess.run(
        argv, input=typed, capture_output=True, text=True, timeout=300, check=True
    )
    assert f"pfn {finding.pfn:#x}: " in told.stdout
    assert "refs 0" in told.stdout
    assert bug.result.kernel_release in told.stdout
