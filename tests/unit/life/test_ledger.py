"""What has a partner and what has none, in lives made by hand."""

from __future__ import annotations

from tests.unit.life.builders import (
    FLAGS,
    HEAD,
    MAPCOUNT,
    REFCOUNT,
    RESERVED,
)
from tests.unit.life.lives import OTHER, Mappable, Mapped, Page, know
from zaptrace.life.ledger import Ledger
from zaptrace.life.left_over import What
from zaptrace.life.reference_kinds import KINDS

know(
    {
        0x265: "shmem_file_splice_read at mm/shmem.c:3404",
        0x266: "folio_get at include/linux/mm.h:1|splice_folio_into_pipe at mm/filemap.c:2850",
        0x267: "put_page at include/linux/mm.h:2|page_cache_pipe_buf_release at fs/splice.c:111",
        0x269: "find_get_entry at mm/filemap.c:2009|find_lock_entries at mm/filemap.c:2099",
        0x26A: "folio_put at include/linux/mm.h:3|folio_batch_release at include/linux/pagevec.h:9",
        0x26B: "folio_get at include/linux/mm.h:4|truncate_inode_folio at mm/truncate.c:179",
        0x26C: "shmem_undo_range at mm/shmem.c:1055",
    }
)


def said(account: Ledger) -> list[str]:
    return [one.sentence() for one in account.left_over]


def test_a_page_that_came_and_went_leaves_nothing() -> None:
    page = Page()
    page.fault()
    page.refs(1, 7, 0x23)
    page.refs(-1, 8, 0x23)
    page.unmap()
    account = page.ledger()
    assert (account.adds, account.removals, account.gets, account.puts) == (1, 1, 3, 3)
    assert said(account) == [] and account.unpaired is None


def test_a_driver_that_puts_once_too_often_is_named() -> None:
    page = Page()
    page.fault()
    page.refs(1, 7, 0x23)
    page.refs(-1, 8, 0x23)
    page.refs(-1, 8, 0x23)
    assert said(page.ledger(ptes=1)) == [
        "put without a get: drv_put drivers/drv.c:81",
        "freed while its mapcount was not 0: drv_put drivers/drv.c:81",
    ]


def test_without_page_tables_it_may_be_a_lost_removal_as_well() -> None:
    page = Page()
    page.fault()
    page.refs(-1, 8, 0x23)
    words = "put without a get, or without the rmap removal that belongs to it"
    assert f"{words}: drv_put drivers/drv.c:81" in said(page.ledger())
    gone = said(page.ledger(ptes=0))
    assert gone[0].endswith("its reference was put by drv_put drivers/drv.c:81")


def test_an_rmap_that_is_not_removed_names_who_dropped_its_reference() -> None:
    page = Page()
    page.fault()
    page.refs(-1, 6, 0x22)
    page.store(MAPCOUNT, -1, pc=9)
    account = page.ledger(ptes=0)
    assert [one.what for one in account.left_over] == [
        What.RMAP_NOT_REMOVED,
        What.FREED_WHILE_MAPPED,
    ]
    assert said(account)[0] == (
        "rmap added and not removed: handle_mm_fault mm/memory.c:100; "
        "its reference was put by zap_pte_range mm/memory.c:61"
    )


def test_an_rmap_that_is_removed_twice_names_both() -> None:
    page = Page()
    page.fault()
    page.unmap()
    page.maps(-1, 5, 0x23)
    (left,) = said(page.ledger(ptes=0))
    places = "zap_pte_range mm/memory.c:105 or drv_ioctl drivers/drv.c:110"
    assert left == f"rmap removed more often than added: {places}"


def test_freed_before_its_rmap_was_removed() -> None:
    page = Page()
    page.fault()
    page.refs(-1, 6, 0x22)
    page.maps(-1, 5, 0x22)
    assert said(page.ledger(ptes=0, stop=8)) == [
        "freed while its mapcount was not 0: zap_pte_range mm/memory.c:61"
    ]


def test_a_reference_that_is_not_dropped_is_still_held() -> None:
    page = Page()
    page.fault()
    page.refs(1, 7, 0x23)
    page.unmap()
    assert said(page.ledger(ptes=0)) == ["got and not put yet: drv_get drivers/drv.c:71"]


def test_a_fork_has_a_reference_for_each_mapping() -> None:
    page = Page()
    page.fault()
    page.refs(1, 7, 0x25)
    page.maps(1, 2, 0x25)
    page.unmap()
    assert said(page.ledger(ptes=1)) == []
    page.unmap()
    assert said(page.ledger(ptes=0)) == []


def test_several_references_at_once_count_one_by_one() -> None:
    page = Page()
    page.fault()
    page.refs(3, 7, 0x23)
    page.refs(-2, 8, 0x23)
    page.unmap()
    account = page.ledger(ptes=0)
    assert (account.gets, account.puts) == (5, 4)
    assert [one.count for one in account.left_over] == [1]


def test_where_nothing_can_be_paired_it_is_said_why() -> None:
    assert "allocation" in (Page().ledger().unpaired or "")
    page = Page()
    page.fault()
    page.refs(-1, 10, 0x23)
    page.refs(1, 10, 0x23)
    assert "frozen" in (page.ledger().unpaired or "")
    page = Page()
    page.fault()
    page.store(8, 0x37200001001, 8, pc=1)
    assert "tail of a large folio" in (page.ledger().unpaired or "")
    page = Page()
    page.fault()
    page.store(FLAGS, 1, 8, pc=1, flags=1)
    assert "value" in (page.ledger().unpaired or "")


def test_a_freeze_that_nothing_gives_back_drops_the_last_reference() -> None:
    """folio_batch_move_lru() of 7.x: a double put elsewhere had no culprit."""
    page = Page()
    page.fault()
    page.refs(1, 7, 0x23)
    page.refs(-1, 8, 0x23)
    page.refs(-1, 8, 0x23)
    before = page.ledger().left_over[0]
    page = Page()
    page.fault()
    page.refs(1, 7, 0x23)
    page.refs(1, 3, 0x21)  # a batch of the LRU lists
    page.refs(-1, 8, 0x23)
    page.refs(-1, 8, 0x23)
    page.refs(-1, 10, 0x24)
    assert page.refcount == 0 and page.ledger().unpaired is None
    assert before.what in [one.what for one in page.ledger().left_over]


def test_a_freeze_that_fails_is_none() -> None:
    """7.x, x86_64: folio_batch_move_lru() tries one on each page; the cmpxchg stores the same."""
    page = Mapped()
    page.refs(0, 10, 0x24)
    assert page.account().unpaired is None
    page.refs(-1, 10, 0x24)
    page.refs(1, 10, 0x24)
    assert page.account().unpaired == "its references were frozen for a while"


def test_what_a_batch_holds_no_other_put_drops() -> None:
    """A zap that freed the next page, seen on 6.14: the batch's own reference went with it."""
    page = Page()
    page.refs(1, 1, 0x21)
    page.maps(1, 2, 0x21)
    page.refs(1, 3, 0x21)  # a batch of the LRU lists
    page.unmap()
    assert [one.what for one in page.ledger(ptes=0).left_over] == [What.GET_WITHOUT_PUT]
    page.refs(-1, 4, 0x27)
    wrong = "put without a get: exit_mmap mm/mmap.c:3000"
    assert wrong in said(page.ledger(ptes=0))
    page.refs(-1, 4, 0x24)  # the batch is moved
    assert page.refcount == -1 and wrong in said(page.ledger(ptes=0))


def test_two_entries_of_one_call_have_a_put_each() -> None:
    """A file's page that one exit unmaps twice: its gather puts it after the first, and at last."""
    page = Mapped()
    page.refs(1, 7, 0x25)
    page.maps(1, 2, 0x25)
    page.sets(0x33, 0x25, slot=OTHER)
    page.clears(0x31, 0x27, 0x22)
    page.maps(-1, 5, 0x27, 0x22)
    page.refs(-1, 4, 0x27)
    page.clears(0x31, 0x27, 0x22, slot=OTHER)
    page.maps(-1, 5, 0x27, 0x22)
    page.refs(-1, 6, 0x27, 0x22)
    assert said(page.account()) == []


def test_a_page_that_waits_in_a_batch_lost_the_reference_of_its_zap() -> None:
    page = Mappable()
    page.refs(1, 1, 0x21)
    page.maps(1, 2, 0x21)
    page.sets(0x30, 0x21)
    page.refs(1, 3, 0x21)  # a batch of the LRU lists
    page.clears(0x31, 0x22)
    page.maps(-1, 5, 0x22)
    assert [one.what for one in page.account().left_over] == [What.CLEARED_NOT_PUT]


def test_a_batch_that_is_filled_by_its_helper_alone_is_a_batch() -> None:
    """folio_add_lru() ends in a jump on s390x: its batch's put was said to have had no get."""
    assert "__folio_batch_add_and_move" in KINDS[0].gets and "folio_add_lru" in KINDS[0].gets


def test_a_reserved_page_has_a_reference_of_the_boots_that_nothing_may_drop() -> None:
    """It is never allocated: what gets and puts it is paired all the same."""

    def of_the_boot(*, reserved: bool) -> Page:
        page = Page()
        page.rows.clear()  # __init_single_page() stores what was not known before
        page.refcount = 1
        page.store(REFCOUNT, 1, pc=9)
        page.store(FLAGS, 0, 8, pc=9)
        page.store(FLAGS, 1 << RESERVED if reserved else 0, 8, pc=9)
        page.refs(1, 7, 0x23)
        page.refs(-1, 8, 0x23)
        return page

    page = of_the_boot(reserved=True)
    assert said(page.ledger()) == []
    page.refs(-1, 8, 0x23)
    assert said(page.ledger()) == ["put without a get: drv_put drivers/drv.c:81"]
    page.store(FLAGS, 0, 8, pc=9)  # the boot gives it to the allocator
    assert said(page.ledger()) == []
    other = of_the_boot(reserved=False)
    other.refs(-1, 8, 0x23)
    assert said(other.ledger()) == []


def test_a_reserved_page_that_is_mapped_has_a_reference_for_each_mapping() -> None:
    """The vdso's: a fault takes what a zap drops, in a call of its own."""
    page = Mappable()
    page.rows.clear()
    page.mapcount, page.refcount = -1, 1
    page.store(REFCOUNT, 1, pc=9)
    page.store(MAPCOUNT, -1, pc=9)
    page.store(FLAGS, 0, 8, pc=9)
    page.store(FLAGS, 1 << RESERVED, 8, pc=9)
    for slot in (0x4000, 0x4008):
        page.refs(1, 7, 0x26)
        page.maps(1, 2, 0x26)
        page.sets(0x30, 0x26, slot=slot)
    assert said(page.account()) == []
    page.zap(slot=0x4000)
    assert said(page.account()) == []
    page.refs(-1, 8, 0x23)
    assert said(page.account()) == ["put without a get: drv_put drivers/drv.c:81"]


def test_the_rmap_of_a_pmd_has_no_pte_to_be_missed() -> None:
    page = Page()
    page.refs(1, 1, 0x21)
    page.store(FLAGS, 1 << HEAD, 8, pc=1)
    page.maps(1, 11, 0x21)
    page.maps(-1, 12, 0x22)
    assert said(page.ledger(tables=1)) == []


def test_who_asked_for_a_pin_is_its_author_and_not_get_user_pages() -> None:
    page = Page()
    page.fault()
    page.refs(1, 16, 0x2A, 0x29)
    page.unmap()
    assert said(page.ledger(ptes=0)) == ["got and not put yet: iter_to_pipe fs/splice.c:28"]


def test_what_an_exit_in_the_middle_of_a_call_unmaps_is_no_part_of_that_call() -> None:
    """An oops: the task exits on the stack of the call that it died in."""
    page = Page()
    page.fault()
    page.refs(1, 7, 0x2A)
    page.refs(-1, 8, 0x23)
    page.refs(-1, 8, 0x23)
    page.maps(-1, 5, 0x23, 0x28, 0x22)
    assert said(page.ledger(ptes=1))[0] == "put without a get: drv_put drivers/drv.c:81"


def test_a_hostile_count_is_no_long_list() -> None:
    page = Page()
    page.fault()
    page.refs(2**31 - 10, 7, 0x23)
    assert page.ledger().gets == 2 + 1024


def a_huge_page() -> Page:
    """Of tmpfs, in the page cache, mapped by a PMD; its head's life."""
    page = Page()
    page.refs(1, 1, 0x21, 0x26)
    page.store(FLAGS, 1 << HEAD, 8, pc=1)
    page.refs(512, 14, 0x21, 0x26)
    page.refs(1, 3, 0x21, 0x26)
    page.refs(-1, 4, 0x24)
    page.maps(1, 11, 0x21)
    return page


def gone(page: Page) -> None:
    """It is unmapped, and leaves the page cache."""
    page.maps(-1, 12, 0x22)
    page.refs(-1, 4, 0x22)
    page.refs(1, 7, 0x23)
    page.refs(-512, 15, 0x23)
    page.refs(-1, 8, 0x23)


def test_a_large_folio_keeps_its_references_in_its_heads_life() -> None:
    page = a_huge_page()
    assert said(page.ledger(ptes=1)) == []
    gone(page)
    account = page.ledger(ptes=0)
    assert (account.gets, account.puts, said(account)) == (515, 515, [])


def test_the_fault_that_kept_its_reference_of_a_huge_page_is_named() -> None:
    page = a_huge_page()
    page.refs(1, 13, 0x21, 0x26, root=0x20000)
    gone(page)
    assert said(page.ledger(ptes=0)) == ["got and not put yet: shmem_fault mm/shmem.c:2157"]


def test_of_two_faults_of_one_task_both_are_named() -> None:
    """Their stacks are the same: which of them mapped the page is not known."""
    page = a_huge_page()
    page.refs(1, 13, 0x21, 0x26)
    gone(page)
    assert said(page.ledger(ptes=0)) == [
        (
            "got and not put yet: post_alloc_hook mm/page_alloc.c:10 or "
            "shmem_fault mm/shmem.c:2157 (1 entry set, 2 references taken)"
        )
    ]


def test_what_other_pages_took_and_dropped_is_distinguished_by_number() -> None:
    """Sixteen PTEs, of which the head's life has one rmap."""
    page = a_huge_page()
    page.refs(15, 2, 0x25)
    page.refs(1, 7, 0x23)
    page.refs(-15, 4, 0x27)
    gone(page)
    assert said(page.ledger(ptes=0)) == ["got and not put yet: drv_get drivers/drv.c:71"]


def a_pinned_huge_page() -> Page:
    """Of hugetlb, taken out of the pool for a pin of its memfd."""
    page = Page()
    page.refs(1, 1, 0x25)
    page.store(FLAGS, 1 << HEAD, 8, pc=1)
    page.refs(-1, 27, 0x25)
    page.refs(1, 26, 0x23)
    page.store(FLAGS, 1 << HEAD | 4, 8, pc=1)
    page.refs(512, 14, 0x23)
    page.refs(1, 30, 0x23)
    page.refs(1, 28, 0x23)
    page.refs(-1, 31, 0x23)
    return page


def test_a_huge_page_is_taken_out_of_its_pool_with_a_reference() -> None:
    page = a_pinned_huge_page()
    page.refs(-1, 8, 0x23)
    page.refs(-1, 29, 0x24)
    page.refs(-512, 15, 0x24)
    account = page.ledger(ptes=0)
    assert (account.gets, account.puts, said(account)) == (515, 515, [])


def test_who_took_a_huge_page_out_of_its_pool_and_kept_the_reference_is_named() -> None:
    page = a_pinned_huge_page()
    page.refs(-1, 29, 0x24)
    page.refs(-512, 15, 0x24)
    assert said(page.ledger(ptes=0)) == ["got and not put yet: memfd_alloc_folio mm/memfd.c:88"]


def test_pins_and_gets_of_the_same_functions_are_told_apart_by_number_alone() -> None:
    page = a_pinned_huge_page()
    page.refs(1, 28, 0x22)
    page.refs(-1, 8, 0x23)
    page.refs(-1, 29, 0x24)
    page.refs(-512, 15, 0x24)
    (left,) = page.ledger(ptes=0).left_over
    assert left.sentence() == (
        "got and not put yet: memfd_alloc_folio mm/memfd.c:88 or drv_ioctl drivers/drv.c:110 or "
        "zap_pte_range mm/memory.c:105"
    )


def test_a_zap_that_leaves_its_pte_for_good_drops_the_mapping_s_own_reference() -> None:
    """6.12, munmap() that clears no PTE: the page table goes with them in it."""
    page = Mapped()
    page.unmap()
    assert page.left() == [What.PTE_STAYS]


def test_a_put_too_many_in_the_call_that_filled_a_pipe_is_not_the_reader_s() -> None:
    """A patched 6.12, shmem_file_splice_read() that drops its page twice: the pipe's put came last
    and was the one that `had not been taken`."""
    page = Page()
    page.fault()
    page.unmap()
    page.refs(1, 7, 0x265)  # it looks the page up
    page.refs(1, 0x266, 0x265)  # the pipe's
    page.refs(-1, 8, 0x265)
    page.refs(-1, 8, 0x265)
    page.refs(-1, 0x267, 0x20)
    told = said(page.ledger())
    assert told == ["put without a get: drv_put drivers/drv.c:81"]


def test_a_reader_of_a_pipe_that_puts_twice_is() -> None:
    page = Page()
    page.fault()
    page.unmap()
    page.refs(1, 0x266, 0x265)
    page.refs(-1, 0x267, 0x20)
    page.refs(-1, 0x267, 0x20)
    assert said(page.ledger()) == [
        "put when its last reference had gone: page_cache_pipe_buf_release fs/splice.c:111"
    ]


def test_a_get_too_many_beside_a_lookup_is_not_the_lookup_s() -> None:
    """A patched 6.12: `the reference that shmem_undo_range() took was never dropped`: it was."""
    page = Page()
    page.fault()
    page.unmap()
    page.refs(1, 0x269, 0x26C)
    page.refs(1, 0x26B, 0x26C)
    page.refs(-1, 0x26A, 0x26C)
    assert said(page.ledger(ptes=0)) == [
        "got and not put yet: truncate_inode_folio mm/truncate.c:179"
    ]


def test_of_two_gets_of_a_call_that_puts_once_either_may_be_the_one_that_leaks() -> None:
    page = Page()
    page.fault()
    page.unmap()
    page.refs(1, 7, 0x23)
    page.refs(1, 0x26B, 0x23)
    page.refs(-1, 8, 0x23)
    assert said(page.ledger(ptes=0)) == [
        "got and not put yet: drv_get drivers/drv.c:71 or truncate_inode_folio mm/truncate.c:179"
    ]
