"""PTEs with their rmaps, in lives made by hand: what one call did without the other."""

from __future__ import annotations

from tests.unit.life.builders import PFN
from tests.unit.life.lives import NAMES, OTHER, Mappable, Mapped, Page, resolve
from zaptrace.life.left_over import What
from zaptrace.life.named_life import named_life
from zaptrace.life.page_life import Role


def test_a_page_that_is_mapped_and_zapped_leaves_nothing() -> None:
    page = Mapped()
    assert page.mappings().ptes == 1 and page.left() == []
    page.zap()
    assert page.mappings().ptes == 0 and page.odds() == [] and page.left() == []


def test_each_store_says_what_it_was_to_the_page() -> None:
    page = Mapped()
    page.sets(0x40, 0x23, at=PFN)
    page.clears(0x32, 0x22)
    page.sets(0x30, 0x21, at=PFN + 1)
    writes = named_life(page.life(tables=1), PFN, resolve).writes
    entries = [one for one in writes if one.write.slot is not None]
    assert [one.role for one in entries] == [Role.PTE_SET, Role.PTE_CHANGED, Role.PTE_CLEARED]
    assert entries[2].write.changes[0].before == PFN << 12 | 1
    # The architecture's own function is not who did it.
    assert entries[2].author.source == "mm/memory.c:105"


def test_without_page_tables_in_the_recording_there_are_none() -> None:
    writes = named_life(Mapped().life(tables=0), PFN, resolve).writes
    assert all(one.write.slot is None for one in writes)


def test_a_pte_that_is_moved_or_modified_stays_the_same_mapping() -> None:
    page = Mapped()
    page.clears(0x40, 0x23)
    page.sets(0x40, 0x23)
    page.clears(0x34, 0x23)
    page.sets(0x34, 0x23, slot=OTHER)
    assert page.left() == [] and page.mappings().ptes == 1
    page.zap(OTHER)
    assert page.left() == []


def test_a_fork_that_adds_no_rmap_is_named() -> None:
    page = Mapped()
    page.refs(1, 7, 0x25)
    page.sets(0x33, 0x25, slot=OTHER)
    page.zap(OTHER)
    page.zap()
    assert page.odds()[0] == (What.PTE_WITHOUT_RMAP, "mm/memory.c:220")
    assert page.left()[0] is What.PTE_WITHOUT_RMAP
    assert What.PUT_WITHOUT_GET not in page.left() and What.GET_WITHOUT_PUT not in page.left()


def test_a_cow_that_does_not_remove_the_rmap_is_named() -> None:
    page = Mapped()
    page.clears(0x41, 0x21)
    page.refs(-1, 6, 0x21)
    assert page.odds() == [(What.PTE_CLEARED, "mm/memory.c:250")]
    assert What.PUT_WITHOUT_GET not in page.left()


def test_a_pte_that_mprotect_loses_is_named() -> None:
    page = Mapped()
    page.clears(0x40, 0x23)
    assert page.odds() == [(What.PTE_CLEARED, "mm/mprotect.c:240")]
    assert page.left() == [What.PTE_CLEARED]


def test_a_removal_that_leaves_the_pte_is_distinguished_from_one_too_many() -> None:
    page = Mapped()
    page.unmap()
    page.zap()
    assert page.odds() == [(What.PTE_STAYS, "mm/rmap.c:50")]
    page = Mapped()
    page.clears(0x31, 0x22)
    page.maps(-1, 5, 0x22)
    page.unmap()
    assert page.odds() == [(What.NO_PTE, "mm/rmap.c:50")]


def test_a_mapping_without_a_reference_of_its_own_is_named() -> None:
    page = Mapped()
    page.maps(1, 2, 0x25)
    page.sets(0x33, 0x25, slot=OTHER)
    assert page.left() == [What.MAPPED_WITHOUT_GET]


def test_a_reference_of_the_page_cache_belongs_to_nothing_else() -> None:
    NAMES[0x50] = "folio_get at include/linux/mm.h:1|shmem_add_to_page_cache at mm/shmem.c:300"
    NAMES[0x51] = "folio_put at include/linux/mm.h:1|shmem_file_read_iter at mm/shmem.c:310"
    page = Mapped()
    page.refs(1, 0x50, 0x21)
    page.refs(1, 7, 0x23)
    page.refs(-1, 0x51, 0x23)
    page.refs(-1, 0x51, 0x23)
    account = page.account()
    assert [one.what for one in account.left_over] == [What.PUT_WITHOUT_GET]
    assert "shmem_file_read_iter mm/shmem.c:310" in account.left_over[0].sentence()


def test_a_store_with_the_stack_of_another_task_blames_nobody() -> None:
    """6.12, s390x: a kprobe on the rmap's removal in a COW; the stack is rcu_gp_kthread's."""
    NAMES[0x58] = "__schedule_loop at kernel/sched/core.c:6827|schedule at kernel/sched/core.c:6850"
    page = Mapped()
    page.clears(0x41, 0x21)
    page.maps(-1, 5, 0x58)
    page.refs(-1, 6, 0x58)
    account = page.account()
    assert account.left_over == ()
    assert account.unpaired == "the call stack of a store is another task's"


def migrated(*, mappings: int, gets: int) -> Mappable:
    """A new page of a compaction, which allocates it and drops that reference at its end."""
    NAMES[0x52] = "migrate_folio_move at mm/migrate.c:1410"
    NAMES[0x53] = "remove_migration_pte at mm/migrate.c:382"
    NAMES[0x54] = "folio_get at include/linux/mm.h:1|remove_migration_pte at mm/migrate.c:210"
    NAMES[0x55] = "compact_node at mm/compaction.c:2912"
    page = Mappable()
    page.refs(1, 1, 0x55)
    page.refs(1, 3, 0x55)
    for number in range(mappings):
        if number < gets:
            page.refs(1, 0x54, 0x55)
        page.maps(1, 2, 0x55)
        page.sets(0x53, 0x55, slot=0x4000 + 8 * number)
    page.refs(-1, 0x52, 0x55)
    page.refs(-1, 4, 0x24)
    return page


def test_a_migration_takes_a_reference_for_each_of_its_ptes() -> None:
    """Not the one that the page was allocated with, which the migration itself drops."""
    assert migrated(mappings=2, gets=2).left() == []
    for mappings in (1, 2):
        left = migrated(mappings=mappings, gets=0).account().left_over
        assert [one.what for one in left if one.what is not What.FREED_WHILE_MAPPED] == [
            What.MAPPED_WITHOUT_GET
        ] * mappings
        assert "remove_migration_pte mm/migrate.c:382" in left[0].sentence()


def test_a_put_in_the_call_that_mapped_it_may_be_the_lookups() -> None:
    """6.12, filemap_map_pages(): its own put is right, and the PTE took no reference."""
    NAMES[0x56] = "filemap_map_pages at mm/filemap.c:3704"
    NAMES[0x57] = "set_pte_range at mm/memory.c:5150"
    page = Mappable()
    page.refs(1, 1, 0x23)
    page.refs(1, 14, 0x23)
    page.refs(-1, 8, 0x23)
    page.refs(1, 13, 0x21)
    page.maps(1, 2, 0x21)
    page.sets(0x57, 0x21)
    page.refs(-1, 0x56, 0x21)
    page.zap()
    (odd,) = page.account().left_over
    assert odd.what is What.PUT_WITHOUT_GET
    assert "filemap_map_pages mm/filemap.c:3704, or PTE set and no reference" in odd.sentence()
    assert odd.sentence().endswith("set_pte_range mm/memory.c:5150")


def test_a_zap_that_keeps_the_reference_of_its_mapping_is_named() -> None:
    """6.12, unmap_page_range() that gives its pages to no gather."""
    page = Mapped()
    page.clears(0x31, 0x22)
    assert page.left() == [What.PTE_CLEARED]  # that says enough
    page.maps(-1, 5, 0x22)
    (kept,) = page.account().left_over
    assert kept.what is What.CLEARED_NOT_PUT
    assert "zap_pte_range mm/memory.c:21" in kept.sentence()
    page.refs(-1, 6, 0x22)
    assert page.left() == []


def test_a_put_of_a_page_that_is_free_is_named() -> None:
    page = Mapped()
    page.zap()
    page.refs(-1, 8, 0x23)
    assert page.left() == [What.FREED_TWICE]


def test_a_page_table_is_mapped_by_nothing() -> None:
    page = Mappable()
    page.refs(1, 1, 0x21)
    page.store(48, 0xFFFFFDFF, pc=1, stack=page.stack(0x20, 0x21))
    page.sets(0x30, 0x21)
    assert page.left() == [What.GET_WITHOUT_PUT]


def test_what_vmalloc_maps_has_no_rmap() -> None:
    """Where an architecture's kernel page tables are typed as page tables, too."""
    NAMES[0xA0] = (
        "set_pte_at at arch/s390/include/asm/pgtable.h:1|vmap_pages_pte_range at mm/vmalloc.c:497"
    )
    NAMES[0xA1] = "remap_vmalloc_range at mm/vmalloc.c:3800"
    page = Page.__new__(Mapped)
    Page.__init__(page)
    page.refs(1, 1, 0x23)
    page.sets(0xA0, 0x23)
    assert page.odds() == []
    page.sets(0x30, 0xA1, slot=0x4010)  # of it, into a process
    assert page.odds() == [(What.PTE_WITHOUT_RMAP, "mm/memory.c:200")]


def test_kernel_text_that_is_patched_is_not_mapped() -> None:
    NAMES[0x70] = "__text_poke at arch/x86/kernel/alternative.c:500"
    page = Mapped()
    page.sets(0x70, 0x23, slot=OTHER)
    assert page.left() == []
