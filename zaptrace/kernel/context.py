"""What the makers of probe sites share: one vmlinux opened, and its struct offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from elftools.dwarf.die import DIE

from zaptrace.arch import Arch
from zaptrace.elf.image import Image
from zaptrace.elf.symtab import Symbols
from zaptrace.kernel.dwarf.dies import CType, origin
from zaptrace.kernel.dwarf.info import DebugInfo
from zaptrace.kernel.dwarf.location import VariableFinder
from zaptrace.kernel.dwarf.place import Place, Unavailable
from zaptrace.kernel.dwarf.struct_layout import offsets
from zaptrace.kernel.dwarf.unit import Unit
from zaptrace.kernel.fetch_args import absent, probe_arg
from zaptrace.kernel.targets import MEMBER_OF, ZAP, ZAP_FILE, ZAP_NEIGHBOURS
from zaptrace.model.plan import ProbeArg

POINTER = CType(8, pointer=True)
_COUNTER = CType(4, signed=True)  # atomic_t

DERIVED = {
    # Event field -> (C parameter that points at the struct, member, type of the member).
    "mm": (*MEMBER_OF["mm"], POINTER),
    "raw_mapcount": (*MEMBER_OF["raw_mapcount"], _COUNTER),
    "refcount": (*MEMBER_OF["refcount"], _COUNTER),
}

Find = Callable[[], Place]


@dataclass(frozen=True, slots=True)
class Context:
    """One vmlinux under inspection.

    Attributes:
        zap: the abstract instance (or definition) of zap_pte_range; None when
            it is not found.
        offsets: `struct.member` -> bytes.
    """

    image: Image
    symbols: Symbols
    info: DebugInfo
    variables: VariableFinder
    zap: DIE | None
    offsets: dict[str, int]

    @classmethod
    def open(cls, image: Image) -> Context:
        """Read what every question needs.

        Raises:
            BadInput: no symbol table or no debug info.
        """
        symbols, info = Symbols(image), DebugInfo(image)
        unit, zap = _find_zap(symbols, info)
        known = offsets(unit) if unit is not None else {}
        return cls(image, symbols, info, VariableFinder(info), zap, known)

    @property
    def arch(self) -> Arch:
        """The kernel's architecture."""
        return self.image.arch

    def arg(self, find: Find, kind: CType) -> ProbeArg:
        """Return the argument at a place; when it cannot be obtained, one that says why."""
        try:
            return probe_arg(find(), kind, self.arch)
        except Unavailable as why:
            return absent(str(why))

    def derived(self, field: str, find: Callable[[str], Place]) -> ProbeArg:
        """Return a field that is a member of a struct which a parameter points at.

        Args:
            field: one of DERIVED.
            find: the place of a C parameter by its name; raises Unavailable.
        """
        parameter, member, kind = DERIVED[field]
        offset = self.offsets.get(member)
        if offset is None:
            return absent(f"no {member} in this kernel's debug info")
        return self.arg(lambda: find(parameter).member(offset), kind)


def _find_zap(symbols: Symbols, info: DebugInfo) -> tuple[Unit | None, DIE | None]:
    """Return the unit of mm/memory.c, and zap_pte_range in it: of all its DIEs the one
    that the others are instances of."""
    unit = None
    for unit in _likely_units(symbols, info):
        if ZAP in unit.functions:
            zap = origin(unit.functions[ZAP][0])
            # With link-time optimisation the code is in another unit than the source.
            return info.unit_containing(zap.offset), zap
    return unit, None


def _likely_units(symbols: Symbols, info: DebugInfo) -> Iterator[Unit]:
    for name in ZAP_NEIGHBOURS:
        for symbol in symbols.functions(name):
            unit = info.unit_at(symbol.address)
            if unit is not None:
                yield unit
    yield from info.units_of_file(ZAP_FILE)
