"""Every place where one function's code is: out of line, and inlined at any depth anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from elftools.dwarf.die import DIE

from zaptrace.kernel.dwarf.dies import children, origin
from zaptrace.kernel.dwarf.info import DebugInfo
from zaptrace.kernel.dwarf.unit import Unit

_INLINED = "DW_TAG_inlined_subroutine"
_FUNCTION = "DW_TAG_subprogram"


@dataclass(frozen=True, slots=True)
class Instance:
    """One place.

    Attributes:
        path: the enclosing DIEs, outermost (the function that has the code)
            first, the instance itself last; one alone when out of line.
        pc: the address at which it is entered.
    """

    path: tuple[DIE, ...]
    pc: int

    @property
    def die(self) -> DIE:
        """The instance itself."""
        return self.path[-1]

    @property
    def inlined(self) -> bool:
        """Whether the code is part of another function."""
        return self.die.tag == _INLINED


class InstanceFinder:
    """Finds instances without parsing what cannot hold one.

    A reference to the abstract instance is four bytes with its offset in the
    unit (DW_FORM_ref4) or, from another unit, in .debug_info
    (DW_FORM_ref_addr): GCC and clang use no other form.  Only subtrees in which
    these bytes occur are opened.
    """

    def __init__(self, info: DebugInfo, function: DIE) -> None:
        self._info = info
        self._function = function

    def instances(self) -> list[Instance]:
        """Return all instances, by address.

        Other units are searched when the function's own has none: that is how
        link-time optimisation lays debug info out.
        """
        home = self._function.cu.cu_offset
        near = self._bytes(self._function.offset - home)
        found = list(self._in_unit(self._info.unit_containing(home), near))
        if (pc := self._info.entry_pc(self._function)) is not None:
            found.append(Instance((self._function,), pc))
        if not found:
            far = self._bytes(self._function.offset)
            for offset in self._other_units(far):
                found += self._in_unit(self._info.unit_containing(offset), far)
        return sorted(found, key=lambda instance: instance.pc)

    def _bytes(self, offset: int) -> bytes:
        return offset.to_bytes(4, self._info.image.arch.byteorder)

    def _other_units(self, needle: bytes) -> list[int]:
        """Return offsets of the units, but the function's own, in which the bytes occur."""
        data, found = self._info.data, []
        at = data.find(needle)
        while at >= 0:
            cu = self._info.dwarf.get_CU_containing(at)
            if cu.cu_offset != self._function.cu.cu_offset:
                found.append(cu.cu_offset)
            at = data.find(needle, cu.cu_offset + cu.size)
        return found

    def _in_unit(self, unit: Unit, needle: bytes) -> Iterator[Instance]:
        for die, end in unit.functions_with(needle):
            yield from self._below((die,), end, needle)

    def _below(self, path: tuple[DIE, ...], end: int, needle: bytes) -> Iterator[Instance]:
        die = path[-1]
        if die.tag in (_INLINED, _FUNCTION) and self._is_instance(die):
            pc = self._info.entry_pc(die)
            if pc is not None:
                yield Instance(path, pc)
        if self._info.data.find(needle, die.offset + die.size, end) < 0:
            return
        for child, child_end in children(die):
            if child.has_children:
                yield from self._below((*path, child), child_end, needle)

    def _is_instance(self, die: DIE) -> bool:
        function = self._function
        return die.offset != function.offset and origin(die).offset == function.offset
