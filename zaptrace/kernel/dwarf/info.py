"""The debug info of a vmlinux: compile units by address or file, address ranges, source lines."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from io import BytesIO

from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.die import DIE
from elftools.dwarf.dwarfinfo import DebugSectionDescriptor, DwarfConfig, DWARFInfo
from elftools.dwarf.ranges import BaseAddressEntry

from zaptrace.elf.image import DEBUG_INFO_HINT, Image
from zaptrace.kernel.dwarf.aranges import AddressRanges
from zaptrace.kernel.dwarf.dies import base_address, compile_unit, name_of, origin
from zaptrace.kernel.dwarf.unit import Unit
from zaptrace.model.errors import BadInput


class DebugInfo:
    """The debug info of a vmlinux.

    Attributes:
        data: the bytes of .debug_info.

    Raises:
        BadInput: the file has no DWARF.
    """

    def __init__(self, image: Image) -> None:
        data = image.data(".debug_info")
        if not data or image.data(".debug_abbrev") is None:
            raise BadInput(f"{image.path} has no debug info", hint=DEBUG_INFO_HINT)
        self.data = data
        self.image = image
        self._units: dict[int, Unit] = {}

    @cached_property
    def dwarf(self) -> DWARFInfo:
        """Return pyelftools' view of the file, with only the sections that we use."""
        return DWARFInfo(
            config=DwarfConfig(self.image.order == "<", self.image.arch.name, 8),
            debug_info_sec=_stream(".debug_info", self.data),
            debug_abbrev_sec=self._section(".debug_abbrev"),
            debug_str_sec=self._section(".debug_str"),
            debug_line_sec=self._section(".debug_line"),
            debug_line_str_sec=self._section(".debug_line_str"),
            debug_loc_sec=self._section(".debug_loc"),
            debug_loclists_sec=self._section(".debug_loclists"),
            debug_ranges_sec=self._section(".debug_ranges"),
            debug_rnglists_sec=self._section(".debug_rnglists"),
            debug_addr_sec=self._section(".debug_addr"),
            debug_str_offsets_sec=self._section(".debug_str_offsets"),
            debug_aranges_sec=None,
            debug_frame_sec=None,
            eh_frame_sec=None,
            debug_pubtypes_sec=None,
            debug_pubnames_sec=None,
            debug_sup_sec=None,
            gnu_debugaltlink_sec=None,
            debug_types_sec=None,
        )

    def _section(self, name: str) -> DebugSectionDescriptor | None:
        data = self.image.data(name)
        return None if data is None else _stream(name, data)

    @cached_property
    def _ranges(self) -> AddressRanges | None:
        section = self.image.data(".debug_aranges")
        return AddressRanges(section, self.image.order) if section else None

    def unit_at(self, address: int) -> Unit | None:
        """Return the unit that holds an address.

        Without .debug_aranges every unit is asked, which takes seconds on a
        whole kernel.
        """
        if self._ranges is not None:
            offset = self._ranges.unit_at(address)
            return None if offset is None else self._unit(self.dwarf.get_CU_at(offset))
        for cu in self.dwarf.iter_CUs():
            if any(low <= address < high for low, high in self.ranges(cu.get_top_DIE())):
                return self._unit(cu)
        return None

    def units_of_file(self, suffix: str) -> Iterator[Unit]:
        """Yield units compiled from a source file whose path ends so (`mm/memory.c`)."""
        for cu in self.dwarf.iter_CUs():
            if name_of(cu.get_top_DIE()).endswith(suffix):
                yield self._unit(cu)

    def unit_containing(self, offset: int) -> Unit:
        """Return the unit that holds an offset in .debug_info."""
        return self._unit(self.dwarf.get_CU_containing(offset))

    def _unit(self, cu: CompileUnit) -> Unit:
        unit = self._units.get(cu.cu_offset)
        if unit is None:
            unit = Unit(cu, self.data, self.image.arch.byteorder)
            self._units[cu.cu_offset] = unit
        return unit

    def ranges(self, die: DIE) -> list[tuple[int, int]]:
        """Return the address ranges [low, high) of a function, an inlined call or a unit."""
        low, high = die.attributes.get("DW_AT_low_pc"), die.attributes.get("DW_AT_high_pc")
        if low is not None and high is not None:
            end = high.value if high.form.startswith("DW_FORM_addr") else low.value + high.value
            return [(low.value, end)]
        listed = die.attributes.get("DW_AT_ranges")
        lists = self.dwarf.range_lists()
        if listed is None or lists is None:
            return []
        found = []
        base = base_address(die)
        for entry in lists.get_range_list_at_offset(listed.value, compile_unit(die)):
            if isinstance(entry, BaseAddressEntry):
                base = entry.base_address
            else:
                start = 0 if entry.is_absolute else base
                found.append((start + entry.begin_offset, start + entry.end_offset))
        return found

    def entry_pc(self, die: DIE) -> int | None:
        """Return where a function or an inlined call is entered, None when it has no code.

        DW_AT_entry_pc (an address, or bytes from the base address: DWARF 5,
        section 2.18), as long as it lies in the ranges; else where they begin.
        """
        ranges = self.ranges(die)
        base = die.attributes.get("DW_AT_low_pc")
        low: int | None = base.value if base is not None else (ranges[0][0] if ranges else None)
        entry = die.attributes.get("DW_AT_entry_pc")
        if entry is None or low is None:
            return low
        pc: int = entry.value
        if not entry.form.startswith("DW_FORM_addr"):
            pc += low
        return pc if any(start <= pc < end for start, end in ranges) else low

    def source(self, die: DIE, kind: str) -> str | None:
        """Return `file:line` of an inlined call (`kind` "call") or a declaration ("decl")."""
        if f"DW_AT_{kind}_file" not in die.attributes:
            die = origin(die)  # perhaps of another unit, which numbers its files by itself
        number, line = (die.attributes.get(f"DW_AT_{kind}_{what}") for what in ("file", "line"))
        if number is None or line is None:
            return None
        program = self.dwarf.line_program_for_CU(compile_unit(die))
        if program is None:
            return None
        # DWARF 5 counts files from 0, older ones from 1.
        index = number.value - (0 if program.header.version >= 5 else 1)
        files = program.header["file_entry"]
        if not 0 <= index < len(files):
            return None
        folders = program.header["include_directory"]
        entry = files[index]
        folder = entry.dir_index - (0 if program.header.version >= 5 else 1)
        path = entry.name.decode(errors="replace")
        if "/" not in path and 0 <= folder < len(folders):
            path = f"{folders[folder].decode(errors='replace')}/{path}"
        return f"{_in_tree(path)}:{line.value}"


def _stream(name: str, data: bytes) -> DebugSectionDescriptor:
    return DebugSectionDescriptor(BytesIO(data), name, 0, len(data), 0)


def _in_tree(path: str) -> str:
    """Return a path as kernel people write it: from the top of the source tree."""
    head, found, tail = path.rpartition("/mm/")
    return f"mm/{tail}" if found and head else path
