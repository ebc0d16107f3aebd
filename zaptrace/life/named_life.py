"""A page's life with the names of the code that lived it."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from zaptrace.life.crossed import put_right
from zaptrace.life.page_life import ENTRY, HUGE_ENTRY, PageLife, Role, Write, page_life
from zaptrace.life.records import Life
from zaptrace.life.strays import RESETTERS, is_stray
from zaptrace.model.verdict import CodeSite

STRAY = "stray store"
"""The role of a store by code that has no business in a struct page."""
_MAPPINGS = (Role.MAPPED, Role.UNMAPPED)

Resolver = Callable[[int, bool], CodeSite]
"""Address, and whether it is a return address -> what is there."""
ALLOCATORS = frozenset({"set_page_refcounted", "post_alloc_hook", "prep_new_page"})
"""Functions in which `_refcount` goes from 0 to 1 for a new owner (mm/page_alloc.c); elsewhere a
frozen reference count thaws (folio_ref_unfreeze())."""
_PTE_HELPERS = re.compile(r"arch/\w+/mm/pgtable\.c:|mm/pgtable-generic\.c:")
"""Where ptep_get_and_clear() and the like are that are not inlined."""
FREEZERS = frozenset(
    {"page_ref_freeze", "page_ref_unfreeze", "folio_ref_freeze", "folio_ref_unfreeze"}
)


@dataclass(frozen=True, slots=True)
class Function:
    """A function as it was linked.

    Attributes:
        size: bytes; 0 when that is not known.
    """

    name: str
    start: int
    size: int


Called = Callable[[int], Function | None]
"""Return address -> the function that the call before it had called; None where that is not
known."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One function, inlined or not, at one line; what is not known is None.

    Attributes:
        left: it had ended with a jump to the next function, and is not on the stack any more.
    """

    function: str | None
    source: str | None
    left: bool = False

    def __str__(self) -> str:
        return self.function or "?"

    @property
    def is_code(self) -> bool:
        """Whether its line is in a .c file."""
        return self.file.endswith(".c")

    @property
    def file(self) -> str:
        """The source file of its line; empty when that is not known."""
        return (self.source or "").partition(":")[0]


def of_the_pool(frames: tuple[Frame, ...]) -> bool:
    """Return whether a store is of hugetlb's pool, whose pages have no reference.

    A huge page is taken out of it by a thaw of its count, folio_ref_unfreeze(), since "mm/hugetlb:
    convert dequeue_hugetlb_page_node functions to folios" (in v6.3); before that, by
    set_page_refcounted().
    """
    code = next((one for one in frames if one.is_code), None)
    thaws = any(one.function in FREEZERS for one in frames)
    return thaws and code is not None and code.file == "mm/hugetlb.c"


@dataclass(frozen=True)
class NamedWrite:
    """A store, named.

    Attributes:
        frames: the functions at the storing instruction, innermost first; the last one is not
            inlined.
        callers: its callers, innermost first, each with its inlined frames; before those stands
            the function that it had called, where that one has left for the next.
        offset: of the instruction in the function that is not inlined.
    """

    write: Write
    frames: tuple[Frame, ...]
    callers: tuple[tuple[Frame, ...], ...]
    offset: int | None

    @property
    def entry(self) -> str:
        """What the page-table entry is that it is about: a PTE, or a large folio's PMD."""
        return HUGE_ENTRY if self.write.is_whole else ENTRY

    @functools.cached_property
    def author(self) -> Frame:
        """The innermost frame that is not a header's helper: its line made the store.

        For a store to a page table, the architecture's own helpers are skipped as well.
        """
        frames = self.frames if self.write.slot is None else self.chain
        own = (one for one in frames if one.is_code and not _PTE_HELPERS.match(one.source or ""))
        return next(own, self.frames[-1] if self.frames else Frame(None, None))

    @functools.cached_property
    def chain(self) -> tuple[Frame, ...]:
        """Every frame from the store outwards, inlined ones as well."""
        return (*self.frames, *(one for caller in self.callers for one in caller))

    def around(self) -> tuple[Frame, ...]:
        """Return the frames outside the author's, innermost first."""
        chain, author = self.chain, self.author
        return chain[chain.index(author) + 1 :] if author in chain else chain

    @functools.cached_property
    def role(self) -> str:
        """What it was to the page; a count that is frozen, thawed or reset is neither.

        A stray store (`strays.is_stray`) is nothing else.
        """
        if is_stray(self):
            return STRAY
        if any(one.function in RESETTERS for one in self.frames) and self.write.role in _MAPPINGS:
            return "reset"
        if any(one.function in FREEZERS for one in self.frames) and not of_the_pool(self.frames):
            return "frozen" if self.write.role in (Role.FREED, Role.PUT) else "thawed"
        return str(self.write.role)

    def functions(self) -> tuple[str, ...]:
        """Every function from the store outwards, inlined ones as well."""
        return tuple(one.function for one in self.chain if one.function)


@dataclass(frozen=True, slots=True)
class NamedLife:
    """A page's life, named; see PageLife."""

    life: PageLife
    writes: tuple[NamedWrite, ...]
    parts: tuple[NamedWrite, ...] = ()


def nothing_called(_returns_to: int) -> Function | None:
    """Return that it is not known what was called."""
    return None


def named_life(
    life: Life,
    pfn: int,
    resolve: Resolver,
    called: Called = nothing_called,
    *,
    since_boot: bool = False,
) -> NamedLife:
    """Return a page's life with names for its code."""
    frames = functools.cache(lambda address, back: _frames(resolve(address, back)))

    def allocates(address: int) -> bool:
        here = frames(address, False)
        return any(one.function in ALLOCATORS for one in here) or of_the_pool(here)

    found = page_life(life, pfn, since_boot=since_boot, allocates=allocates)
    put_right(found.writes, lambda write: [one.function or "" for one in frames(write.pc, False)])
    writes, parts = (
        tuple(named_write(write, resolve, called, frames) for write in some)
        for some in (found.writes, found.parts)
    )
    return NamedLife(found, writes, parts)


def named_write(
    write: Write,
    resolve: Resolver,
    called: Called = nothing_called,
    frames: Callable[[int, bool], tuple[Frame, ...]] | None = None,
) -> NamedWrite:
    """Return one store with names for its code.

    Args:
        frames: what remembers the frames of addresses.
    """
    look_up = frames or (lambda address, back: _frames(resolve(address, back)))
    site = resolve(write.pc, False)
    own = look_up(write.pc, False)
    callers: list[tuple[Frame, ...]] = []
    inner, inside = own, write.pc
    for address in write.stack:
        outer = look_up(address, True)
        callers.append((*_left(called(address), inner, inside), *outer))
        inner, inside = outer, address - 1
    return NamedWrite(write, own, tuple(callers), site.offset)


def _left(function: Function | None, inner: tuple[Frame, ...], inside: int) -> tuple[Frame, ...]:
    """Return the function that was called, where another one is on the stack.

    Args:
        inner: the frames of that one.
        inside: an address in its code.
    """
    if function is None or function.start <= inside < function.start + function.size:
        return ()
    same = inner and (inner[-1].function or "").partition(".")[0] in ("", function.name)
    return () if same else (Frame(function.name, None, left=True),)


def _frames(site: CodeSite) -> tuple[Frame, ...]:
    if not site.inline_chain:
        return (Frame(site.symbol, site.source),)
    frames = []
    for text in site.inline_chain:
        function, _, source = text.partition(" at ")
        frames.append(Frame(_known(function), _known(source)))
    return tuple(frames)


def _known(text: str) -> str | None:
    return text if text and text != "?" else None
