"""Stray stores: by code that has no business in a struct page, or of a value no user stores."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from zaptrace.life.page_life import ENTIRE, Role
from zaptrace.life.page_members import MAPCOUNT, REFCOUNT

if TYPE_CHECKING:
    from zaptrace.life.named_life import Frame, NamedWrite

RESETTERS = frozenset({"bad_page", "page_mapcount_reset"})
"""Functions that give a page that is free a `_mapcount` of -1, whatever it was."""
_RMAP_FILES = ("mm/rmap.c", "include/linux/rmap.h")
_COUNT_FILES = ("include/linux/page_ref.h", "include/linux/mm.h")
"""Every reference is taken and dropped by inline functions of these headers."""
_COPIERS = re.compile(r"(?:__)?mem(?:set|cpy|move|set16|set32|set64)(?:_erms|_orig)?")
"""Who called these is the author of what they store."""
_BUSINESS = re.compile(
    # Who owns pages: mm, file systems, drivers and what maps or hands out pages of its own.
    r"(?:mm|fs|block|drivers|arch|include|lib|net|sound|virt|io_uring|crypto|security|certs)/"
    r"|kernel/(?:events|dma|power|trace|bpf|futex|locking|cgroup|sched|rcu|module|kexec|crash)"
    r"|kernel/(?:fork|relay|exit|kcov|scs)\.c|kernel/liveupdate"
)
_REPORTED = ("flags", "mapping", MAPCOUNT, ENTIRE, REFCOUNT)
"""Members whose stray stores are reported; others share their place with their users' own data."""


def is_stray(one: NamedWrite) -> bool:
    """Return whether a store is one that no user of struct pages makes.

    That is: one through another address than that of the struct page; one to its flags, mapping
    or counters by a file that has no pages; a change of `_mapcount` by other than 1 that is not the
    rmap's; a change of `_refcount` by none of the functions that count.  Where the line of
    a store is not known, it is not stray.
    """
    write = one.write
    if write.slot is not None or not write.changes:
        return False
    changed = [change for change in write.changes if change.stored and change.name in _REPORTED]
    if not changed:
        return False
    if write.alias:
        return True
    author = _author(one)
    if author is None:
        return False
    if not _BUSINESS.match(author.file):
        return True
    counter = write.change(MAPCOUNT) or write.change(ENTIRE)
    if counter is not None and counter.before is not None and write.role in _MAPPINGS:
        return not (_is_rmap(one) or _is_reset(one, counter.after)) and (
            abs(counter.after - counter.before) != 1 or not author.file.startswith("mm/")
        )
    counter = write.change(REFCOUNT)
    if counter is None or counter.before is None or author.file.startswith(("mm/", "arch/")):
        return False
    return not any(frame.file in _COUNT_FILES for frame in one.frames)


_MAPPINGS = (Role.MAPPED, Role.UNMAPPED)


def _author(one: NamedWrite) -> Frame | None:
    """Return the innermost frame of C code that is no copying function; None when no line is
    known."""
    known = (frame for frame in one.chain if frame.file and not _copies(frame))
    return next((frame for frame in known if frame.is_code), None)


def _copies(frame: Frame) -> bool:
    return _COPIERS.fullmatch(frame.function or "") is not None


def _is_rmap(one: NamedWrite) -> bool:
    return any(
        frame.file in _RMAP_FILES or "rmap" in (frame.function or "") for frame in one.frames
    )


def _is_reset(one: NamedWrite, after: int) -> bool:
    """Return whether it is what the allocator or its initialisation leaves: no mapping."""
    reset = any(frame.function in RESETTERS for frame in one.frames)
    return reset or (after == -1 and any(frame.file.startswith("mm/") for frame in one.frames))
