"""The members of struct page that a page's life shows, by this kernel's debug info."""

from __future__ import annotations

import dataclasses

import drgn

from zaptrace.life.page_members import Field, PageFields
from zaptrace.memory.pages import byte_order
from zaptrace.model.errors import BadInput

_MEMBERS = (
    # Name, then where it is, newest first.  `flags` is a struct since 6.18 ("mm: introduce
    # memdesc_flags_t"); one that is not there leaves its place to the words that have no name.
    ("flags", ("flags.f", "flags")),
    ("lru.next", ("lru.next",)),
    ("lru.prev", ("lru.prev",)),
    ("mapping", ("mapping",)),
    ("index", ("index", "__folio_index")),
    ("private", ("private",)),
    ("_mapcount", ("_mapcount.counter",)),
    ("_refcount", ("_refcount.counter",)),
    ("memcg_data", ("memcg_data",)),
)


def page_fields(prog: drgn.Program) -> PageFields:
    """Find them.

    Raises:
        BadInput: there is no struct page in the debug info.
    """
    try:
        page = prog.type("struct page")
    except LookupError as error:
        raise BadInput(f"the debug info has no struct page: {error}") from None
    fields: list[Field] = []
    taken: set[int] = set()
    for name, places in _MEMBERS:
        found = next((one for place in places if (one := _field(page, name, place))), None)
        if found is not None and found.offset not in taken:
            taken.update(range(found.offset, found.offset + found.size))
            fields.append(found)
    for offset in range(0, drgn.sizeof(page), 8):
        if not taken & set(range(offset, offset + 8)):
            fields.append(Field(f"word {offset}", offset, 8))
    fields.sort(key=lambda one: one.offset)
    entire = _entire_mapcount(prog, drgn.sizeof(page))
    return PageFields(drgn.sizeof(page), byte_order(prog), tuple(fields), _flags(prog), entire)


def _entire_mapcount(prog: drgn.Program, size: int) -> Field | None:
    """Return the counter of a large folio's mappings as a whole, in the folio's second struct page.

    A member of struct folio since first tails have no members of their own (in v6.3); before that,
    of struct page.
    """
    for kind, place, before in (
        ("struct folio", "_entire_mapcount", size),
        ("struct page", "compound_mapcount", 0),
    ):
        try:
            found = _field(prog.type(kind), "_entire_mapcount", f"{place}.counter")
        except LookupError:
            continue
        if found is not None and before <= found.offset < before + size:
            return dataclasses.replace(found, offset=found.offset - before)
    return None


def _field(page: drgn.Type, name: str, place: str) -> Field | None:
    kind = page
    try:
        for part in place.split("."):
            kind = _unaliased(_unaliased(kind).member(part).type)
        signed = kind.kind == drgn.TypeKind.INT and kind.is_signed
        return Field(name, drgn.offsetof(page, place), drgn.sizeof(kind), signed)
    except (LookupError, TypeError):
        return None


def _unaliased(kind: drgn.Type) -> drgn.Type:
    while kind.kind == drgn.TypeKind.TYPEDEF:
        kind = kind.type
    return kind


def _flags(prog: drgn.Program) -> dict[int, str]:
    """Return enum pageflags (include/linux/page-flags.h); of several names of a bit the first."""
    names: dict[int, str] = {}
    try:
        for name, bit in prog.type("enum pageflags").enumerators:
            if name == "__NR_PAGEFLAGS":
                break
            names.setdefault(bit, name.removeprefix("PG_"))
    except (LookupError, TypeError):
        return {}
    return {bit: name for bit, name in names.items() if 0 <= bit < 64}
