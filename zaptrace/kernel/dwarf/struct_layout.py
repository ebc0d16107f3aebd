"""Where the members of kernel structs lie."""

from __future__ import annotations

from elftools.dwarf.die import DIE

from zaptrace.kernel.dwarf.dies import children, name_of, type_die
from zaptrace.kernel.dwarf.unit import Unit
from zaptrace.kernel.targets import MEMBERS

_DEEPEST = 8
"""Anonymous structs and unions within each other; struct page has three."""


def offsets(unit: Unit) -> dict[str, int]:
    """Return `struct.member` (by its oldest name) -> offset, `sizeof STRUCT` -> size, in bytes.

    What this unit or this kernel does not have is absent.
    """
    found = {}
    for struct, names in MEMBERS:
        die = unit.structs.get(struct)
        if die is not None:
            found[f"sizeof {struct}"] = int(die.attributes["DW_AT_byte_size"].value)
            places = (member_offset(die, name) for name in names)
            offset = next((place for place in places if place is not None), None)
            if offset is not None:
                found[f"{struct}.{names[-1]}"] = offset
    return found


def member_offset(struct: DIE, name: str, depth: int = _DEEPEST) -> int | None:
    """Return the offset of a member, also inside anonymous structs; None: no such member."""
    for member, _ in children(struct):
        if member.tag != "DW_TAG_member":
            continue
        attribute = member.attributes.get("DW_AT_data_member_location")
        # Members of a union, and the first ones of old compilers, bear no offset.
        offset = attribute.value if attribute is not None else 0
        if not isinstance(offset, int):
            continue
        if (own := name_of(member)) == name:
            return offset
        kind = type_die(member) if not own and depth else None
        inner = member_offset(kind, name, depth - 1) if kind is not None else None
        if inner is not None:
            return offset + inner
    return None
