"""References, locked memory, huge pages and rmaps, in a guest that says exactly what it holds.

Faults are planted in what drgn reads of the dump: a value is replaced by another.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import drgn
import numpy as np
import pytest
from drgn.helpers.linux.cpumask import for_each_possible_cpu
from drgn.helpers.linux.mm import (
    compound_head,
    page_to_pfn,
    page_to_virt,
    pfn_to_page,
    virt_to_page,
    vma_find,
)
from drgn.helpers.linux.percpu import per_cpu_ptr
from drgn.helpers.linux.pid import find_task
from drgn.helpers.linux.slab import slab_cache_for_each_allocated_object

from tests.guest.holders import (
    HUGE_LINE,
    KIB_PER_PAGE,
    Held,
    answers,
    boot,
    buddy_of,
    content_of,
    filtered_at,
    frame_of,
    head_of,
    member,
    pfn_of,
    pipes_of,
    references_of,
    table_of,
    unlike,
    words_of,
)
from tests.guest.kdumpfile import compressed
from tests.guest.planting import compound_link, overwrite, physical, planted
from zaptrace.audit.audited import Audited, audit
from zaptrace.audit.page_use import PageUse
from zaptrace.audit.pagetables.nonpresent import SwapKind, types_of
from zaptrace.audit.rmap import Place, entry_at
from zaptrace.audit.slub import allocated_objects
from zaptrace.audit.structpages.page_flags import flags_of
from zaptrace.audit.structpages.pcp_lists import on_cpu_lists
from zaptrace.cli.inspect_text import page_lines
from zaptrace.memory.open import open_program, vmcoreinfo_of
from zaptrace.model.findings import FindingClass

pytestmark = pytest.mark.guest


@pytest.fixture(scope="module")
def found(held: Held) -> Audited:
    return audit(held.opened())


def test_a_healthy_guest_that_holds_pages_in_every_way_has_no_finding(found: Audited) -> None:
    assert found.findings == ()
    assert {what: count for what, count in found.state.gaps.items() if count} == {}


def test_every_reference_is_accounted_for_as_the_guest_says(held: Held, found: Audited) -> None:
    references = references_of(found)
    assert len(held.pages) >= 20
    for key, page in held.pages.items():
        account = references.account(head_of(found, page.pfn))
        assert account.unexplained == 0, (key, account)
        assert account.unread == ()
        held_by = {
            what: sum(one.references for one in account.holders if one.what == what)
            for what in ("PTEs", "pipe", "page cache", "swap cache", "LRU batch")
        }
        # Nobody forks here: kpagecount is what the guest's own PTEs are.
        assert held_by["PTEs"] == page.mapcount, key
        assert held_by["pipe"] == held.in_pipes.get(key, 0), key
        name = key[0]
        assert bool(held_by["page cache"]) == (name in PAGE_CACHE), key
        assert held_by["swap cache"] == (name == "swapped"), key
        assert held_by["LRU batch"] == (name == "fresh"), key
        assert account.refcount == sum(held_by.values()), key


PAGE_CACHE = ("memfd", "hugetlb-shared", "hugetlb-file")


def test_a_page_s_full_account_says_what_it_is_in_use_for(held: Held, found: Audited) -> None:
    inspector = found.inspect()

    def use(name: str) -> PageUse:
        return inspector.page(held.pages[name, 0].pfn).use

    assert use("spliced").file is None
    shared = use("memfd").file
    assert shared is not None
    assert (shared["filesystem"], shared["index"]) == ("tmpfs", 0)
    swapped = use("swapped").swap
    assert swapped is not None
    assert str(swapped["file"]).startswith("/dev/vd")
    for page in held.pages.values():
        view = inspector.page(page.pfn)
        assert view.use.content
        assert view.use.lost == ()
        assert view.use.free_list is None
        assert json.loads(json.dumps(view.to_json()))["references"]["unexplained"] == 0
        assert all(len(line) <= 80 for line in page_lines(view))


def test_free_pages_and_slabs_are_reported_with_their_place(found: Audited) -> None:
    """Each kind of page, against the lists and caches themselves."""
    state, inspector = found.state, found.inspect()
    listed, _ = on_cpu_lists(state.prog, state.pages)
    for index in listed[:20].tolist():
        assert "'s list of zone" in str(inspector.page(pfn_of(found, index)).use.free_list)
    for index in buddy_of(found)[::2000].tolist():
        view = inspector.page(pfn_of(found, index))
        assert "the buddy allocator, in a block of order" in str(view.use.free_list)
    cache = state.prog["mm_cachep"]
    for mm in state.mms:
        page = virt_to_page(state.prog, mm.address)
        slab = inspector.page(page_to_pfn(page).value_()).use.slab
        assert slab is not None
        assert slab["cache"].encode() == cache.name.string_()
        first = page_to_virt(compound_head(page)).value_()
        slab_of_it = range(first, first + slab["objects"] * cache.size.value_())
        every = slab_cache_for_each_allocated_object(cache, "struct mm_struct")
        assert slab["in_use"] == sum(one.value_() in slab_of_it for one in every) > 0


@pytest.mark.parametrize(("form", "level"), [("-c", 1), ("-c", 16), ("-c", 31), ("-E", 31)])
def test_a_filtered_dump_loses_no_answer_but_the_content_it_left_out(
    held: Held, found: Audited, tmp_path: Path, form: str, level: int
) -> None:
    """`makedumpfile -d`: 1 leaves out pages of zeros, 2 to 8 caches and user data, 16 free pages.

    It reads dumps of the machine it was built for; another machine's are written by us.
    """
    made = tmp_path / "filtered"
    if "s390x" not in str(held.vmlinux):
        command = ["makedumpfile", form, "-d", str(level), str(held.vmcore), str(made)]
        subprocess.run(command, check=True, capture_output=True)
    elif form == "-E":
        pytest.skip("only makedumpfile writes these, and it does not read s390x's dumps here")
    else:
        compressed(held.vmcore, made, without=filtered_at(found, level))
    filtered = audit(open_program(made, held.vmlinux))
    assert filtered.result().unseen == ()
    whole, inspector = found.inspect(), filtered.inspect()
    recorded = found.state.recorded
    kernel = np.flatnonzero(recorded.known & ~recorded.free & ~recorded.mappable)
    samples = {
        "user": [page.pfn for page in held.pages.values()],
        "free": [pfn_of(found, at) for at in buddy_of(found)[::2000].tolist()],
        "kernel": [pfn_of(found, at) for at in kernel[::50].tolist()],
    }
    # ELF dumps leave out runs of 256 pages and more, of zeros too: what is there then is whole.
    left_out = {"user": bool(level & 8), "free": bool(level & 16), "kernel": False}
    lost = [pfn for pfn in samples["free"] if not inspector.page(pfn).use.content]
    assert bool(lost) is bool(level & 16)
    for what, pfns in samples.items():
        assert pfns
        for pfn in pfns:
            view = inspector.page(pfn)
            assert answers(view) == answers(whole.page(pfn)), what
            if form != "-E":
                assert view.use.content is not left_out[what], what
            if view.use.content:
                assert content_of(filtered, pfn) == content_of(found, pfn), what
            said = "not in the dump (filtered out, cut off, or all zero)"
            assert (said in " ".join("\n".join(page_lines(view)).split())) is not view.use.content


def test_what_a_dump_lacks_of_the_kernel_s_own_costs_that_answer_and_is_said(
    held: Held, found: Audited, tmp_path: Path
) -> None:
    """A PTE table, a pipe's buffers, an inode, and some struct pages: none of makedumpfile's
    levels leaves them out, a dump on a failing disk may."""
    state = found.state
    mapped, file = held.pages["locked", 0], held.pages["memfd", 0]
    piped, gone = held.pages["spliced", 3], unlike(held, found)
    space = pfn_to_page(state.prog, file.pfn).mapping
    frames = {
        table_of(found, mapped.address),
        frame_of(found, space.host.value_()),
        frame_of(found, state.pages.layout.address(gone)),
        *(frame_of(found, pipe.bufs.value_()) for pipe in pipes_of(found)),
    }
    compressed(held.vmcore, tmp_path / "vmcore", without=frames)
    poorer = audit(open_program(tmp_path / "vmcore", held.vmlinux))
    assert poorer.findings == ()
    inspector = poorer.inspect()
    for page in held.pages.values():
        view, whole = inspector.page(page.pfn), found.inspect().page(page.pfn)
        assert view.references is not None
        assert (view.refcount, view.flags) == (whole.refcount, whole.flags)
        assert view.references.unread
        missing = view.references.unexplained
        held_by = sum(one.references for one in view.references.holders)
        assert held_by + missing == view.refcount
        for name in ("free_list", "slab", "file", "swap", "cgroup"):
            answer = getattr(view.use, name)
            assert answer == getattr(whole.use, name) or (answer is None and view.use.lost)
    view = inspector.page(gone)
    known = view.refcount, view.mapcount, view.raw_mapcount, view.folio, view.references, view.flags
    assert known == (None, None, None, None, None, ())
    assert view.use.lost[:4] == ("free list", "slab", "file", "cgroup")
    *_, last = page_lines(view)
    assert last == "whether anything is wrong with this page cannot be told"
    view = inspector.page(mapped.pfn)
    assert (view.ptes, view.mapcount) == (0, 1)
    assert "not looked at: some page tables, which cannot be read" in "\n".join(page_lines(view))
    assert "file" in inspector.page(file.pfn).use.lost
    unread = inspector.page(piped.pfn).references
    assert unread is not None
    assert "pipes" in unread.unread


@pytest.mark.parametrize("name", ["mm_cachep", "vm_area_cachep"])
def test_slabs_whose_struct_pages_are_missing_raise_no_alarm(
    held: Held, found: Audited, tmp_path: Path, name: str
) -> None:
    """Which mms and VMAs there are is then not known from their slab caches."""
    state = found.state
    flags = flags_of(state.prog, vmcoreinfo_of(state.prog))
    objects = allocated_objects(state.prog[name], state.pages, flags, Counter())
    assert objects
    slabs = {virt_to_page(state.prog, address).value_() for address in objects}
    frames = {frame_of(found, slab) for slab in slabs}
    compressed(held.vmcore, tmp_path / "vmcore", without=frames)
    poorer = audit(open_program(tmp_path / "vmcore", held.vmlinux))
    assert poorer.findings == ()
    assert poorer.state.gaps["struct pages not in the dump"] >= 64 * len(frames)
    used = {mm.address for mm in found.state.mms if mm.tasks}
    assert used <= {mm.address for mm in poorer.state.mms}


def test_locked_vm_is_what_the_guest_reads_of_itself(held: Held, found: Audited) -> None:
    (mm,) = [mm for mm in found.state.mms if any(task.pid == 1 for task in mm.tasks)]
    assert mm.obj.locked_vm.value_() * KIB_PER_PAGE == held.number("locked", 1)


def test_memory_that_mremap_left_locked_in_the_counter_alone_is_found(
    held: Held, tmp_path: Path
) -> None:
    """Without a patch: "mm/mremap: correctly account old mapping after MREMAP_DONTUNMAP remap"
    and its like are not in this kernel."""
    arch = "s390x" if "s390x" in str(held.vmlinux) else "x86_64"
    struck = boot(arch, tmp_path, "-- dontunmap")
    (finding,) = audit(struck.opened()).findings
    assert finding.cls is FindingClass.LOCKED_VM_MISMATCH
    (owner,) = finding.mappings
    assert owner.pid is not None
    assert owner.pid != 1
    recorded = struck.number("dontunmap", owner.pid) // KIB_PER_PAGE
    assert finding.note == f"locked_vm is {recorded} pages, its VM_LOCKED VMAs have 2"


@pytest.mark.parametrize("name", ["spliced", "orphan", "memfd", "swapped", "thp", "fresh"])
def test_one_reference_more_than_anything_holds_is_leaked(held: Held, name: str) -> None:
    (finding,) = planted(held, lambda prog: (member(prog, held, (name, 0), "_refcount"), "i", 1))
    assert finding.cls is FindingClass.REFCOUNT_LEAKED
    assert finding.pfn == held.pages[name, 0].pfn
    assert str(finding.note).startswith(f"refcount {finding.refcount}: ")
    assert str(finding.note).endswith("; 1 unexplained")


def test_an_anonymous_page_whose_index_leads_elsewhere_has_a_wrong_rmap(held: Held) -> None:
    (finding,) = planted(held, lambda prog: (member(prog, held, ("locked", 1), "index"), "Q", 3))
    page = held.pages["locked", 1]
    assert (finding.cls, finding.pfn) == (FindingClass.WRONG_RMAP, page.pfn)
    index = page.address >> 12
    assert finding.note == (
        f"its index is {index + 3:#x}, its PTE at {page.address:#x} is that of {index:#x}"
    )


def test_an_anonymous_page_with_another_anon_vma_has_a_wrong_rmap(held: Held) -> None:
    prog = held.opened()
    where = member(prog, held, ("locked", 1), "mapping")
    other = prog.read_u64(member(prog, held, ("thp", 0), "mapping"))
    differs = other - prog.read_u64(where)
    assert differs
    (finding,) = planted(held, lambda _: (where, "Q", differs))
    assert finding.cls is FindingClass.WRONG_RMAP
    assert "does not lead to the VMA of its PTE" in str(finding.note)


@pytest.mark.parametrize(
    ("name", "of", "kind", "more", "cls"),
    [
        ("locked", "vm_flags", "Q", -0x2, FindingClass.PTE_BEYOND_VMA),  # VM_WRITE
        ("locked", "flags", "Q", "PG_anon_exclusive", FindingClass.WRITABLE_NOT_OWN),
        ("memfd", "index", "Q", 1, FindingClass.WRONG_FILE_PAGE),
        ("memfd", "vm_pgoff", "Q", 1, FindingClass.WRONG_FILE_PAGE),
        ("memfd", "mapping", "Q", 64, FindingClass.WRONG_FILE_PAGE),
    ],
)
def test_a_pte_that_its_vma_excludes_is_found(
    held: Held, name: str, of: str, kind: str, more: int | str, cls: FindingClass
) -> None:
    """mprotect() that lets a PTE be, an index that a store changed: no counter is wrong."""
    page = held.pages[name, 1]

    def plant(prog: drgn.Program) -> tuple[int, str, int]:
        add = more if isinstance(more, int) else -(1 << prog.constant(more).value_())
        if not of.startswith("vm_"):
            return member(prog, held, (name, 1), of), kind, add
        vma = vma_find(find_task(prog, 1).mm, page.address)
        where: int = vma.member_(of).address_
        return where, kind, add

    findings = planted(held, plant)
    assert {one.cls for one in findings} == {cls}
    (finding,) = [one for one in findings if one.pfn == page.pfn]
    first = finding.mappings[0]
    assert str(finding.note).startswith(f"its PTE at {first.address:#x} ")
    assert first.entry_at is not None
    assert page.address in [one.address for one in finding.mappings]


def test_a_pin_that_nothing_is_left_to_hold_is_leaked(held: Held) -> None:
    (finding,) = planted(
        held, lambda prog: (member(prog, held, ("locked", 1), "_refcount"), "i", 1024)
    )
    assert (finding.cls, finding.pfn) == (
        FindingClass.REFCOUNT_LEAKED,
        held.pages["locked", 1].pfn,
    )
    assert "1024 of pins (1 by get_user_pages())" in str(finding.note)
    assert str(finding.note).endswith("; 0 unexplained, and nothing is left that holds pins")


def test_a_page_that_is_locked_and_that_nothing_has_locked_is_found(held: Held) -> None:
    (finding,) = planted(
        held, lambda prog: (member(prog, held, ("memfd", 0), "flags"), "Q", 1)
    )  # PG_locked
    assert (finding.cls, finding.pfn) == (FindingClass.LEFT_LOCKED, held.pages["memfd", 0].pfn)
    assert str(finding.note).endswith("and no task waits for it")


@pytest.mark.parametrize(
    ("counter", "more"), [("total_vm", 1), ("map_count", -1), ("pgtables_bytes", 1 << 20)]
)
def test_an_mm_that_counts_what_it_has_not_is_found(held: Held, counter: str, more: int) -> None:
    """A table that has lost its entry, a VMA that was not counted."""

    def plant(prog: drgn.Program) -> tuple[int, str, int]:
        where = find_task(prog, 1).mm.member_(counter)
        return where.address_, "i" if counter == "map_count" else "q", more

    (finding,) = planted(held, plant)
    assert finding.cls is FindingClass.MM_COUNTER_MISMATCH
    assert str(finding.note).startswith(f"{counter} is ")


def test_a_free_page_that_a_cpu_s_batch_holds_is_found(held: Held, found: Audited) -> None:
    """6.14: a zap that dropped one reference too many; nothing used the page before the end."""
    batched = held.pages["fresh", 0].pfn
    free = pfn_of(found, int(buddy_of(found)[0]))
    page = pfn_to_page(found.state.prog, batched).value_()
    more = pfn_to_page(found.state.prog, free).value_() - page
    batches = found.state.prog["cpu_fbatches"].type_
    where = next(
        at
        for cpu in for_each_possible_cpu(found.state.prog)
        for at in words_of(
            found.state.prog,
            per_cpu_ptr(found.state.prog["cpu_fbatches"].address_of_(), cpu).value_(),
            batches.size,
            page,
        )
    )
    first, *_ = planted(held, lambda _: (where, "Q", more))
    assert (first.cls, first.pfn) == (FindingClass.DIRTY_FREE_PAGE, free)
    assert re.fullmatch(r"an LRU batch \(CPU \d, lru_add\) holds it", str(first.note))


def test_a_migration_entry_of_a_page_that_nobody_migrates_is_found(held: Held) -> None:
    """remove_migration_pte() that leaves an entry: who touches the page fails an assertion."""
    prog = held.opened()
    state = audit(prog).state
    nonpresent, code = state.walked.nonpresent, state.fmt.tables.swap
    swap = int(np.flatnonzero(state.absent.kind == SwapKind.SWAP)[0])
    mm, address = int(nonpresent.mm[swap]), int(nonpresent.address[swap])
    at = entry_at(state, Place(mm, address))
    assert at is not None and physical(prog, at) == int(nonpresent.entry[swap])
    kinds = types_of(prog, vmcoreinfo_of(prog), state.fmt.page_shift).kinds.tolist()
    shift, mask = code.pte_type
    cleared = int(nonpresent.entry[swap]) & ~(mask << shift)
    overwrite(prog, at, cleared | kinds.index(SwapKind.MIGRATION) << shift)
    found = [one for one in audit(prog).findings if one.cls is FindingClass.STALE_MIGRATION_ENTRY]
    (finding,) = found
    assert finding.note == f"the migration entry at {address:#x} names it, and it is not locked"
    assert finding.mappings[0].entry_at == at


def test_a_tail_page_of_no_folio_is_found(held: Held) -> None:
    """A compound_head that was written over."""
    prog = held.opened()
    page = pfn_to_page(prog, held.pages["orphan", 0].pfn)
    link = compound_link(page)
    before: int = page.value_() - prog.type("struct page").size
    more = (before | 1) - link.value_()
    findings = planted(held, lambda _: (link.address_, "Q", more % 2**64 - (more < 0) * 2**64))
    found = [one for one in findings if one.cls is FindingClass.TAIL_WITHOUT_HEAD]
    assert [one.pfn for one in found] == [held.pages["orphan", 0].pfn], findings
    assert str(found[0].note).startswith(f"its compound_head is {before | 1:#x}: pfn ")


@pytest.mark.parametrize(
    ("counter", "what"),
    [
        ("resv_huge_pages", "resv_huge_pages, reserved"),
        ("free_huge_pages", "free_huge_pages, on the free lists"),
        ("nr_huge_pages", "nr_huge_pages, on all lists"),
        ("surplus_huge_pages", "surplus_huge_pages, of all nodes"),
    ],
)
def test_a_pool_of_huge_pages_that_counts_one_too_many_is_found(
    held: Held, counter: str, what: str
) -> None:
    told = {name: int(pages) for name, pages in HUGE_LINE.findall(held.console)}
    if not told:
        pytest.skip("this machine has no huge pages")
    findings = planted(held, lambda prog: (prog["hstates"][0].member_(counter).address_, "Q", 1))
    (finding,) = findings
    assert finding.cls is FindingClass.HUGETLB_POOL_MISMATCH
    recorded = told[counter.removesuffix("_huge_pages")]
    assert f"{what}: {recorded + 1} recorded, {recorded} found" in str(finding.note)


def test_what_a_task_in_the_middle_of_something_may_hold_is_not_called_leaked(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """init waits in pause(): a function that the rules must know."""
    monkeypatch.setattr("zaptrace.audit.quiet._WAITS", frozenset())
    where = member(held.opened(), held, ("spliced", 0), "_refcount")
    assert planted(held, lambda _: (where, "i", 1)) == ()
