"""How the stores of a page's recorded life are called, in every sentence alike."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from zaptrace.explain.naming import page
from zaptrace.explain.predicates import Case
from zaptrace.explain.rests_on import refer_all
from zaptrace.life.calls import ENTRIES, author
from zaptrace.life.named_life import Frame, NamedWrite
from zaptrace.life.page_life import Change
from zaptrace.life.page_members import PageFields
from zaptrace.model.verdict import Reference

NO_STORE = "bits of memory flipped, a device wrote there, or a store was not recorded"
MOST_CALLERS = 3


def told(case: Case) -> int | None:
    """Return the page whose life is known: the first one of a folio that is wrong as a whole."""
    return case.story.pfn if case.account is None else case.account.named.life.pfn


def whose(case: Case) -> str:
    """Return what that page is called."""
    pfn = told(case)
    if pfn is None or pfn == case.story.pfn:
        return page(case.story)
    return f"pfn {pfn:#x}, its folio's first page"


def by(one: NamedWrite) -> str:
    """Return `wp_page_copy() at mm/memory.c:3424`."""
    frame = author(one)
    return f"{frame}()" + (f" at {frame.source}" if frame.source else "")


def with_callers(one: NamedWrite) -> str:
    """Return `A() at FILE:LINE, called by B() at FILE:LINE`."""
    callers = [f"{frame}() at {frame.source}" for frame in callers_of(one)][:MOST_CALLERS]
    return ", called by ".join((by(one), *callers))


def callers_of(one: NamedWrite) -> list[Frame]:
    """Return the functions outside the one that did it, innermost first, up to the kernel's
    entry.

    A function that the compiler has split (`.part.0`) is in a stack twice, and here once.
    """
    chain, mine = one.chain, author(one)
    outside = chain[chain.index(mine) + 1 :] if mine in chain else ()
    found = [frame for frame in outside if frame.is_code and frame.function not in ENTRIES]
    return [frame for inner, frame in pairwise((mine, *found)) if frame.function != inner.function]


def changes(one: NamedWrite, fields: PageFields) -> str:
    """Return `flags +private, _mapcount went from 0 to 8`: what a store itself changed."""
    return ", ".join(_change(each, fields) for each in one.write.changes if each.stored)


def _change(change: Change, fields: PageFields) -> str:
    if change.name == "flags" and (flags := flag_changes(change, fields)):
        return f"flags {' '.join(flags)}"
    was = "?" if change.before is None else number(change.before, change.name)
    return f"{change.name} went from {was} to {number(change.after, change.name)}"


def flag_changes(change: Change, fields: PageFields) -> list[str]:
    """Return `-lru`, `+private`: the flags that a store changed, where it is known what was."""
    return [] if change.before is None else fields.flag_changes(change.before, change.after)


def number(value: int, name: str) -> str:
    """Return a member's value as it is read: a counter in decimal, all else in hexadecimal."""
    return str(value) if name.endswith("count") else f"{value % 2**64:#x}"


def refer_writes(writes: Iterable[NamedWrite], pfn: int | None) -> tuple[Reference, ...]:
    """Return stores as what a sentence rests on."""
    return refer_all(
        Reference(
            "life",
            one.role or None,
            index=one.write.number,
            time_ns=one.write.ns,
            cpu=one.write.cpu,
            pfn=pfn,
        )
        for one in writes
    )
