"""One compile unit: its functions and structs, decoded on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.die import DIE

from zaptrace.arch import Byteorder
from zaptrace.kernel.dwarf.die_scan import Skimmer
from zaptrace.kernel.dwarf.dies import end_of, name_of

_FUNCTION, _STRUCT = "DW_TAG_subprogram", "DW_TAG_structure_type"

Span = tuple[int, int]
"""Offsets in .debug_info: of a DIE, and after its last descendant."""

Entry = Callable[[DIE], int | None]
"""The address at which a function is entered; None when it has no code."""


class Unit:
    """The outermost DIEs of a compile unit.

    Args:
        data: the bytes of .debug_info.
    """

    def __init__(self, cu: CompileUnit, data: bytes, byteorder: Byteorder) -> None:
        self.cu = cu
        self._data = data
        self._byteorder: Byteorder = byteorder

    @cached_property
    def _spans(self) -> dict[str, list[Span]]:
        """Of functions and structs, by tag."""
        found: dict[str, list[Span]] = {_FUNCTION: [], _STRUCT: []}
        skimmer = Skimmer(
            self.cu,
            self._data,
            self._byteorder,
            lambda offset: end_of(self.die(offset)),
        )
        for offset, end, tag in skimmer.outermost():
            if tag in found:
                found[tag].append((offset, end))
        return found

    def die(self, offset: int) -> DIE:
        """Return the DIE at an offset of this unit."""
        return self.cu.get_DIE_from_refaddr(offset)

    def functions_with(self, needle: bytes) -> Iterator[tuple[DIE, int]]:
        """Yield functions in whose DIE or descendants some bytes occur, each with the
        offset after its last descendant."""
        for offset, end in self._spans[_FUNCTION]:
            if self._data.find(needle, offset, end) >= 0:
                yield self.die(offset), end

    def function_at(
        self, address: int, name: str, entry: Callable[[DIE], int | None]
    ) -> DIE | None:
        """Return the function that is entered at an address.

        Args:
            name: as in the source.
            entry: finds where a function is entered.
        """
        for die, _ in self.functions_with(address.to_bytes(8, self._byteorder)):
            if entry(die) == address:
                return die
        # Where DWARF does not write its address down (DW_FORM_addrx, DW_AT_ranges).
        return next((die for die in self.functions.get(name, ()) if entry(die) == address), None)

    @cached_property
    def functions(self) -> dict[str, list[DIE]]:
        """Name -> subprograms: definitions, abstract instances, the compiler's clones."""
        found: dict[str, list[DIE]] = {}
        for offset, _ in self._spans[_FUNCTION]:
            die = self.die(offset)
            found.setdefault(name_of(die), []).append(die)
        return found

    @cached_property
    def structs(self) -> dict[str, DIE]:
        """Tag name -> struct definition."""
        found: dict[str, DIE] = {}
        for offset, _ in self._spans[_STRUCT]:
            die = self.die(offset)
            if "DW_AT_byte_size" in die.attributes:
                found.setdefault(name_of(die), die)
        return found
