"""What a page is by the flags that its life's stores have set."""

from __future__ import annotations

from collections.abc import Iterable

from zaptrace.life.named_life import NamedWrite
from zaptrace.life.page_members import REFCOUNT, PageFields


def is_reserved(writes: Iterable[NamedWrite], fields: PageFields) -> bool:
    """Return whether PG_reserved was set, and not cleared again: never given to the allocator."""
    last = ""
    for one in writes:
        change = one.write.change("flags")
        if change is not None and change.before is not None:
            flips = fields.flag_changes(change.before, change.after)
            last = next((name for name in flips if name[1:] == "reserved"), last)
    return last == "+reserved"


def is_large(writes: Iterable[NamedWrite], fields: PageFields) -> bool:
    """Return whether the page is known to be a part of a large folio."""
    for one in writes:
        flags, link = one.write.change("flags"), one.write.change("lru.next")
        # A tail's compound_head shares the place of lru.next, and has bit 0 set.
        if (flags and "head" in fields.flag_names(flags.after)) or (link and link.after & 1):
            return True
    return False


def is_head(writes: Iterable[NamedWrite], fields: PageFields) -> bool:
    """Return whether the page is a large folio's first at the end of its life."""
    changes = (one.write.change("flags") for one in writes)
    flags = [change.after for change in changes if change is not None]
    return bool(flags) and "head" in fields.flag_names(flags[-1])


def last_put_by_freeze(writes: Iterable[NamedWrite]) -> NamedWrite | None:
    """Return the freeze that dropped the page's last references: none were given back after it.

    folio_batch_move_lru() of 7.x frees a folio whose only reference is its own that way.
    """
    found = None
    for one in writes:
        change = one.write.change(REFCOUNT)
        if change is None or one.write.after_stop:
            continue
        found = one if one.role == "frozen" and change.after == 0 else None
    return found
