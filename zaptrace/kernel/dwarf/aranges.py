"""Which compile unit an address belongs to: .debug_aranges, decoded in bulk."""

from __future__ import annotations

import struct

_HEADER = "IHIBB"  # length, version, offset in .debug_info, sizes of address and segment
_PAIR = "QQ"
_FIRST = 16  # the pairs are aligned to their size, counted from the header


class AddressRanges:
    """Address ranges with the offset of their unit in .debug_info.

    Args:
        section: the bytes of .debug_aranges (DWARF 5, section 6.1.2).
        order: `<` or `>`.
    """

    def __init__(self, section: bytes, order: str) -> None:
        header, pair = struct.Struct(order + _HEADER), struct.Struct(order + _PAIR)
        self._sets: list[tuple[int, list[tuple[int, int]]]] = []
        at = 0
        while at + header.size <= len(section):
            length, version, unit, address_size, _ = header.unpack_from(section, at)
            end = at + 4 + length
            pairs = section[at + _FIRST : end]
            if version == 2 and address_size == 8 and end <= len(section):
                whole = len(pairs) - len(pairs) % pair.size
                self._sets.append((unit, list(pair.iter_unpack(pairs[:whole]))))
            at = end

    def unit_at(self, address: int) -> int | None:
        """Return offset in .debug_info of the unit that holds a link-time address, or None."""
        for unit, pairs in self._sets:
            if any(start <= address < start + size for start, size in pairs):
                return unit
        return None
