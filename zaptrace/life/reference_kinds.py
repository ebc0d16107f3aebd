"""References by who takes and who drops them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RefKind:
    """References that are taken in one place and dropped in another, by the functions there.

    Attributes:
        own: it is dropped there and nowhere else: no other put can be its own.
        lasting: so is this one, and it may be held for as long as the page lives.
        alike: others are taken by the same functions: paired only where as many were dropped.
    """

    name: str
    gets: frozenset[str]
    puts: frozenset[str]
    own: bool = False
    lasting: bool = False
    alike: bool = False


KINDS = (
    # mm/swap.c: a page waits in a per-CPU batch, which holds it, until the batch is moved.
    RefKind(
        "LRU batch",
        frozenset(
            {
                *("folio_add_lru", "lru_cache_add", "folio_activate", "folio_rotate_reclaimable"),
                *("deactivate_file_folio", "folio_deactivate", "deactivate_page"),
                *("folio_mark_lazyfree", "mark_page_lazyfree", "folio_batch_add_and_move"),
                "__folio_batch_add_and_move",
            }
        ),
        # Of what left for the next function the first one alone is known: lru_add_drain_cpu().
        frozenset({"folio_batch_move_lru", "pagevec_lru_move_fn", "__pagevec_lru_add"})
        | {"lru_add_drain_cpu"},
        own=True,
    ),
    # mm/mlock.c: the same for mlock's.
    RefKind(
        "mlock batch",
        frozenset({"mlock_folio", "mlock_new_folio", "munlock_folio"})
        | {"mlock_new_page", "munlock_page"},
        frozenset({"mlock_folio_batch", "mlock_pagevec", "mlock_drain_local"}),
        own=True,
    ),
    # mm/filemap.c: pages that are looked up into a batch, which drops them all.
    RefKind(
        "lookup",
        frozenset({"filemap_get_folios", "filemap_get_folios_contig", "filemap_get_folios_tag"})
        | {"find_lock_entries", "find_get_entries"},
        frozenset({"__folio_batch_release", "folio_batch_release", "__pagevec_release"})
        | {"pagevec_release"},
    ),
    # fs/splice.c, fs/pipe.c, mm/filemap.c: a page waits in a pipe, which holds it, for its reader.
    RefKind(
        "pipe",
        frozenset({"splice_folio_into_pipe", "copy_page_to_iter_pipe", "generic_pipe_buf_get"})
        | {"iter_to_pipe"},
        frozenset({"page_cache_pipe_buf_release", "generic_pipe_buf_release"}),
    ),
    # mm/filemap.c, mm/shmem.c: while a page is in the page cache, that holds it.
    RefKind(
        "page cache",
        frozenset({"__filemap_add_folio", "__add_to_page_cache_locked", "shmem_add_to_page_cache"}),
        frozenset({"filemap_free_folio", "page_cache_free_page", "shmem_delete_from_page_cache"}),
        lasting=True,
    ),
    # include/linux/pagemap.h: while a file system has its own data at a page, that holds it.
    RefKind(
        "private",
        frozenset({"folio_attach_private", "attach_page_private"}),
        frozenset({"folio_detach_private", "detach_page_private"}),
        lasting=True,
    ),
    # mm/swap_state.c
    RefKind(
        "swap cache",
        frozenset({"add_to_swap_cache"}),
        frozenset({"delete_from_swap_cache", "__delete_from_swap_cache"}),
        lasting=True,
    ),
)

KEEPS_NONE = frozenset(
    {
        # fork(): mm/memory.c, mm/huge_memory.c
        *("copy_present_pte", "copy_present_ptes", "__copy_present_ptes", "copy_huge_pmd"),
        # A fault that maps new pages, or those around: mm/memory.c, mm/huge_memory.c, mm/filemap.c
        *("do_anonymous_page", "do_huge_pmd_anonymous_page", "filemap_map_pages"),
        # Migration and reclaim take entries away and set them again: mm/migrate.c, mm/rmap.c
        *("remove_migration_pte", "try_to_migrate_one", "try_to_unmap_one"),
        # A PMD becomes PTEs: mm/huge_memory.c
        *("__split_huge_pmd_locked", "__split_huge_zero_page_pmd"),
    }
)
"""Functions that take and drop references of a folio for the entries which they set and clear, and
hand none to their callers."""

TAKES_ITS_OWN = frozenset({"remove_migration_pte"})
"""What takes a reference for each PTE that it sets, also of a page that is new: compaction
allocates the page, and drops that reference in the same call (migrate_folio_move())."""

FOLIO_KINDS = (
    *KINDS,
    # mm/gup.c: FOLL_PIN; FOLL_GET takes its own by the same functions.
    RefKind(
        "pin",
        frozenset({"try_grab_folio", "try_grab_folio_fast", "try_grab_page"}),
        frozenset({"gup_put_folio"}),
        alike=True,
    ),
)
"""What else is told apart in the life of a large folio: its refcount does not show its pins."""
