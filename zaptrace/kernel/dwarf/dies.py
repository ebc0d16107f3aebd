"""DWARF debugging entries (DIEs): children, names, types, through pyelftools.

pyelftools parses; the walking is done here, because a damaged file must not
make it go round in circles: offsets only ever grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from elftools.common.exceptions import DWARFError
from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.die import DIE, AttributeValue

_LONGEST_CHAIN = 16
"""Hops along abstract origins, typedefs and qualifiers; real ones have three or four."""
_QUALIFIERS = ("DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type")
_SIGNED = (0x05, 0x06)  # DW_ATE_signed, DW_ATE_signed_char


@dataclass(frozen=True, slots=True)
class CType:
    """What we need to know of a C type.

    Attributes:
        size: bytes.
        signed: it is a signed integer.
        pointer: it is a pointer.
    """

    size: int
    signed: bool = False
    pointer: bool = False


def children(die: DIE) -> Iterator[tuple[DIE, int]]:
    """Yield a DIE's children, each with the offset after its last descendant.

    Raises:
        DWARFError: the tree does not hang together.
    """
    if not die.has_children:
        return
    cu, at = die.cu, die.offset + die.size
    while True:
        child = cu.get_DIE_from_refaddr(at)
        if child.is_null():
            return
        end = end_of(child)
        if end <= at:
            raise DWARFError(f"the sibling of the DIE at {at:#x} lies before it")
        yield child, end
        at = end


def end_of(die: DIE) -> int:
    """Return the offset after a DIE's last descendant."""
    end = die.offset + die.size
    if not die.has_children:
        return end
    sibling = die.attributes.get("DW_AT_sibling")
    if sibling is not None:
        far: bool = sibling.form == "DW_FORM_ref_addr"
        return int(sibling.value) + (0 if far else die.cu.cu_offset)
    for _, end_of_child in children(die):  # clang writes no DW_AT_sibling
        end = end_of_child
    return end + 1  # the null DIE


def origin(die: DIE) -> DIE:
    """Return the abstract instance or declaration that a DIE is an instance of, or itself."""
    for _ in range(_LONGEST_CHAIN):
        for link in ("DW_AT_abstract_origin", "DW_AT_specification"):
            if link in die.attributes:
                die = die.get_DIE_from_attribute(link)
                break
        else:
            return die
    raise DWARFError(f"abstract origins of the DIE at {die.offset:#x} never end")


def attribute(die: DIE, name: str) -> AttributeValue | None:
    """Return an attribute of a DIE or of what it is an instance of."""
    found: AttributeValue | None = die.attributes.get(name) or origin(die).attributes.get(name)
    return found


def name_of(die: DIE) -> str:
    """Return a DIE's name; "" when it has none."""
    found = attribute(die, "DW_AT_name")
    return found.value.decode(errors="replace") if found and found.value is not None else ""


def parameters(die: DIE) -> list[DIE]:
    """Return the parameters of a function or an inlined call, in DWARF's order."""
    return [child for child, _ in children(die) if child.tag == "DW_TAG_formal_parameter"]


def type_die(die: DIE) -> DIE | None:
    """Return the type of a variable, parameter or member without qualifiers; None for void."""
    die = origin(die)
    for _ in range(_LONGEST_CHAIN):
        if "DW_AT_type" not in die.attributes:
            return None
        die = die.get_DIE_from_attribute("DW_AT_type")
        if die.tag not in _QUALIFIERS:
            return die
    raise DWARFError(f"the types of the DIE at {die.offset:#x} never end")


def type_of(die: DIE) -> CType:
    """Return what we need to know of the type of a variable or parameter."""
    kind = type_die(die)
    if kind is None:
        return CType(0)
    if kind.tag == "DW_TAG_pointer_type":
        return CType(8, pointer=True)
    size, encoding = (kind.attributes.get(f"DW_AT_{what}") for what in ("byte_size", "encoding"))
    return CType(
        size=int(size.value) if size is not None else 0,
        signed=encoding is not None and encoding.value in _SIGNED,
    )


def compile_unit(die: DIE) -> CompileUnit:
    """Return the compile unit that holds a DIE.

    Raises:
        DWARFError: it is in a type unit, which has no code.
    """
    if isinstance(die.cu, CompileUnit):
        return die.cu
    raise DWARFError(f"the DIE at {die.offset:#x} is in a type unit")


def base_address(die: DIE) -> int:
    """Return what offsets in the range and location lists of a DIE's unit are counted from."""
    low = compile_unit(die).get_top_DIE().attributes.get("DW_AT_low_pc")
    return int(low.value) if low is not None else 0
