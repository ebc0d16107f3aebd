"""The symbol table, decoded in bulk: walking it symbol by symbol through pyelftools costs seconds.

struct.iter_unpack is as quick here as numpy, whose import alone takes longer.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from zaptrace.elf.image import DEBUG_INFO_HINT, Image
from zaptrace.model.errors import BadInput

_SYMBOL = "IBBHQQ"  # Elf64_Sym: name, info, other, section, value, size
_LABEL = 0  # STT_NOTYPE
_OBJECT = 1
_FUNCTION = 2
_LONGEST_NAME = 512  # KSYM_NAME_LEN, include/linux/kallsyms.h

_Row = tuple[int, int, int]
"""Name (offset in the string table), address, size."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function or object of the kernel.

    Attributes:
        name: as linked, with the compiler's suffix (`bad_page.isra.0`).
        address: link-time address.
        size: bytes.
    """

    name: str
    address: int
    size: int

    @property
    def is_clone(self) -> bool:
        """Whether the compiler made it out of the function of that name, with
        arguments of its own liking (`.isra.0`, `.constprop.0`, `.part.0`)."""
        return "." in self.name


class Symbols:
    """The symbols of a vmlinux.

    Raises:
        BadInput: there is no symbol table.
    """

    def __init__(self, image: Image) -> None:
        table, names = image.data(".symtab"), image.data(".strtab")
        if table is None or names is None:
            raise BadInput(f"{image.path} has no symbol table: stripped", hint=DEBUG_INFO_HINT)
        layout = struct.Struct(image.order + _SYMBOL)
        whole = len(table) - len(table) % layout.size
        self._names = names
        self._labels: list[_Row] = []
        self._objects: list[_Row] = []
        self._functions: list[_Row] = []
        kinds = {_LABEL: self._labels, _OBJECT: self._objects, _FUNCTION: self._functions}
        for name, info, _, section, address, size in layout.iter_unpack(table[:whole]):
            if section and (rows := kinds.get(info & 0xF)) is not None:
                rows.append((name, address, size))

    def functions(self, name: str) -> list[Symbol]:
        """Return the function of this name and the compiler's clones of it.

        What the compiler split off as unlikely (`.cold`) is not among them: a
        call does not enter there.
        """
        return [one for one in self._named(self._functions, name) if ".cold" not in one.name]

    def object(self, name: str) -> Symbol | None:
        """Return the object of exactly this name."""
        return next((one for one in self._named(self._objects, name) if one.name == name), None)

    def label(self, name: str) -> int | None:
        """Return the address of what the linker's script names exactly so."""
        found = self._named(self._labels, name)
        return next((one.address for one in found if one.name == name), None)

    def code(self, name: str) -> int | None:
        """Return the address of code of exactly this name: a function, or assembler's label."""
        functions = (one.address for one in self._named(self._functions, name) if one.name == name)
        return next(functions, self.label(name))

    def covering(self, address: int) -> Symbol | None:
        """Return the function that holds an address."""
        for row in self._functions:
            _, start, size = row
            if start <= address < start + size:
                return self._symbol(row)
        return None

    def _named(self, rows: list[_Row], name: str) -> Iterator[Symbol]:
        """Yield symbols named `name` or `name.SUFFIX`.  The linker lets a name be the
        tail of another, so every place where its bytes are must be tried."""
        bytes_ = re.escape(name.encode())
        places = {match.start() for match in re.finditer(bytes_ + rb"[.\0]", self._names)}
        return (self._symbol(row) for row in rows if row[0] in places)

    def _symbol(self, row: _Row) -> Symbol:
        start, address, size = row
        end = self._names.find(b"\0", start, start + _LONGEST_NAME)
        return Symbol(self._names[start:end].decode("ascii", "replace"), address, size)
