"""Skims over the outermost DIEs of a unit.

A unit of mm/ has some 2,500 of them, and pyelftools takes 25 µs to decode one.
To get from one to the next, only the sizes of its attributes are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from elftools.common.exceptions import DWARFError
from elftools.dwarf.compileunit import CompileUnit

from zaptrace.arch import Byteorder

Skip = Callable[[bytes, int], int]
"""From the offset where an attribute begins to the one after it."""

_FIXED = {
    # Bytes that an attribute of a form takes (DWARF 5, section 7.5.6) with
    # 8-byte addresses and 4-byte offsets.
    **dict.fromkeys(("flag_present", "implicit_const"), 0),
    **dict.fromkeys(("data1", "flag", "ref1", "strx1", "addrx1"), 1),
    **dict.fromkeys(("data2", "ref2", "strx2", "addrx2"), 2),
    **dict.fromkeys(("strx3", "addrx3"), 3),
    **dict.fromkeys(("data4", "ref4", "strx4", "addrx4"), 4),
    **dict.fromkeys(("strp", "line_strp", "sec_offset", "ref_addr"), 4),
    **dict.fromkeys(("data8", "ref8", "ref_sig8", "addr"), 8),
    "data16": 16,
}


def _leb(data: bytes, at: int) -> tuple[int, int]:
    """Return an unsigned LEB128 number of at most 64 bits, and the offset after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(f"the number that ends at {at:#x} has more than 64 bits")


def _skip_leb(data: bytes, at: int) -> int:
    return _leb(data, at)[1]


def _skip_block(data: bytes, at: int) -> int:
    size, at = _leb(data, at)
    return at + size


_VARYING: dict[str, Skip] = {
    "string": lambda data, at: data.index(0, at) + 1,
    "block1": lambda data, at: at + 1 + data[at],
    **dict.fromkeys(("block", "exprloc"), _skip_block),
    **dict.fromkeys(("udata", "sdata", "ref_udata", "strx", "addrx"), _skip_leb),
    **dict.fromkeys(("loclistx", "rnglistx"), _skip_leb),
}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What an abbreviation says of where the next DIE is.

    Attributes:
        steps: bytes to skip, or how to skip, from the first attribute to the
            sibling reference, or over all without one.
        sibling: there is one (DW_FORM_ref4).
        simple: False where only decoding the children leads to the next DIE.
    """

    tag: str
    steps: tuple[int | Skip, ...] = ()
    sibling: bool = False
    simple: bool = True


class Skimmer:
    """The outermost DIEs of one unit.

    Args:
        data: the bytes of .debug_info.
        end_of: the offset after the DIE at an offset and all its descendants,
            for those that cannot be skimmed.
    """

    def __init__(
        self,
        cu: CompileUnit,
        data: bytes,
        byteorder: Byteorder,
        end_of: Callable[[int], int],
    ) -> None:
        self._cu = cu
        self._data = data
        self._byteorder: Byteorder = byteorder
        self._end_of = end_of
        # Older units have other sizes for references, 64-bit DWARF for offsets.
        self._known_sizes = cu["version"] > 2 and cu.dwarf_format() == 32
        self._shapes: dict[int, _Shape] = {}

    def outermost(self) -> Iterator[tuple[int, int, str]]:
        """Yield of each its offset, the offset after its last descendant, and its tag.

        Raises:
            DWARFError, LookupError, ValueError: the unit is damaged.
        """
        top = self._cu.get_top_DIE()
        at, end = top.offset + top.size, self._cu.cu_offset + self._cu.size
        while at < end and self._data[at]:
            code, attributes = _leb(self._data, at)
            shape = self._shapes.get(code) or self._learn(code)
            after = self._after(shape, attributes) if shape.simple else self._end_of(at)
            if after <= at:
                raise DWARFError(f"the sibling of the DIE at {at:#x} lies before it")
            yield at, after, shape.tag
            at = after

    def _after(self, shape: _Shape, at: int) -> int:
        for step in shape.steps:
            at = at + step if isinstance(step, int) else step(self._data, at)
        if not shape.sibling:
            return at
        return self._cu.cu_offset + int.from_bytes(self._data[at : at + 4], self._byteorder)

    def _learn(self, code: int) -> _Shape:
        shape = self._shapes[code] = self._shape(code)
        return shape

    def _shape(self, code: int) -> _Shape:
        declared = self._cu.get_abbrev_table().get_abbrev(code)
        tag = str(declared["tag"])
        steps: list[int | Skip] = []
        for spec in declared["attr_spec"]:
            form = str(spec.form).removeprefix("DW_FORM_")
            if spec.name == "DW_AT_sibling" and form == "ref4":
                return _Shape(tag, tuple(steps), sibling=True, simple=self._known_sizes)
            step = _FIXED.get(form, _VARYING.get(form))
            if step is None:
                return _Shape(tag, simple=False)
            steps.append(step)
        leaf = not declared.has_children()
        return _Shape(tag, tuple(steps), simple=leaf and self._known_sizes)
