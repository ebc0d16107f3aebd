"""Where a variable or parameter lies at one address."""

from __future__ import annotations

from collections.abc import Sequence

from elftools.dwarf.die import DIE, AttributeValue
from elftools.dwarf.dwarf_expr import DWARFExprOp, DWARFExprParser
from elftools.dwarf.locationlists import BaseAddressEntry, LocationEntry, LocationParser

from zaptrace.kernel.dwarf.cfi import Frames
from zaptrace.kernel.dwarf.dies import base_address, type_of
from zaptrace.kernel.dwarf.expression import Evaluator
from zaptrace.kernel.dwarf.info import DebugInfo
from zaptrace.kernel.dwarf.place import OPTIMISED_OUT, Place, Unavailable

_EVERYWHERE = -1  # what pyelftools gives for both ends of DW_LLE_default_location


class VariableFinder:
    """Finds the places of variables in the code of a vmlinux."""

    def __init__(self, info: DebugInfo) -> None:
        self._info = info
        self._frames = Frames(info.image)

    def place(self, variable: DIE, function: DIE, pc: int) -> Place:
        """Return where a variable's value lies.

        Args:
            variable: a parameter or variable, of a function or an inlined call.
            function: the out-of-line function that has the code.
            pc: the address of the instruction about to run.

        Raises:
            Unavailable: there is nothing of it at that address.
        """
        constant = variable.attributes.get("DW_AT_const_value")
        if constant is not None and isinstance(constant.value, int):
            return Place(None, addend=constant.value)
        ops = self._expression(variable, "DW_AT_location", pc)
        evaluator = Evaluator(
            frame_base=self._expression(function, "DW_AT_frame_base", pc),
            cfa=lambda: self._frames.cfa(pc),
            byteorder=self._info.image.arch.byteorder,
        )
        return evaluator.value(ops, type_of(variable).size)

    def _expression(self, die: DIE, name: str, pc: int) -> Sequence[DWARFExprOp]:
        """Return the expression that holds at an address; empty without one."""
        attribute = die.attributes.get(name)
        if attribute is None:
            return ()
        version = die.cu["version"]
        if not LocationParser.attribute_has_location(attribute, version):
            raise Unavailable(f"{OPTIMISED_OUT}: {attribute.form} is not a location")
        raw = self._bytes_at(die, attribute, pc)
        return () if raw is None else DWARFExprParser(die.cu.structs).parse_expr(raw)

    def _bytes_at(self, die: DIE, attribute: AttributeValue, pc: int) -> list[int] | None:
        parser = LocationParser(self._info.dwarf.location_lists())
        found = parser.parse_from_attribute(attribute, die.cu["version"], die)
        if not isinstance(found, list):
            return found.loc_expr
        base = base_address(die)
        fallback = None
        for entry in found:
            if isinstance(entry, BaseAddressEntry):
                base = entry.base_address
            elif isinstance(entry, LocationEntry):
                start = 0 if entry.is_absolute else base
                if entry.begin_offset == _EVERYWHERE:
                    fallback = entry.loc_expr
                elif start + entry.begin_offset <= pc < start + entry.end_offset:
                    return entry.loc_expr
        return fallback
