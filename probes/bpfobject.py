"""A compiled BPF program as plain data, and as bytes that are whole or refused.

What is kept is what clang made: instructions, in which the descriptors of maps are left open,
and the maps that they want.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

MAGIC = b"zaptrace-bpf-1\n"
MOST_BYTES = 4 << 20
"""Bytes of a whole file; ours have about 100 KB."""
_MOST_MAPS, _MOST_PROGRAMS = 64, 1024
_DIGEST = 64
_LOAD_64 = 0x18  # BPF_LD | BPF_DW | BPF_IMM: two instructions long
_PSEUDO_MAP_FD = 1
_SIZE = 8


class Damaged(ValueError):
    """The bytes are not what was kept."""


@dataclass(frozen=True, slots=True)
class MapDefinition:
    """A map, as BPF_MAP_CREATE takes it."""

    name: str
    kind: int
    key_size: int
    value_size: int
    entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class Function:
    """One program.

    Attributes:
        instructions: struct bpf_insn, 8 bytes each; descriptors of maps are 0.
        maps: number of an instruction -> name of the map whose descriptor it loads.
    """

    instructions: bytes
    maps: Mapping[int, str]

    def relocated(self, descriptors: Mapping[str, int]) -> bytes:
        """Return the instructions with the maps' descriptors in them."""
        text = bytearray(self.instructions)
        for number, name in self.maps.items():
            struct.pack_into("=i", text, number * _SIZE + 4, descriptors[name])
        return bytes(text)


@dataclass(frozen=True, slots=True)
class Compiled:
    """All programs of one text, and their maps."""

    license: str
    kernel_version: int
    maps: tuple[MapDefinition, ...]
    functions: Mapping[str, Function]


def without_descriptors(instructions: bytes, names: Mapping[int, str]) -> Function:
    """Return a program as bcc has it, with its maps by name instead.

    Args:
        names: descriptor -> name.

    Raises:
        Damaged: it refers to something else than these maps.
    """
    text, maps, number = bytearray(instructions), {}, 0
    while number * _SIZE < len(text):
        code, registers, _, value = struct.unpack_from("=BBhi", text, number * _SIZE)
        if code == _LOAD_64:
            kind = _source_register(registers)
            if kind == _PSEUDO_MAP_FD and value in names:
                maps[number] = names[value]
                struct.pack_into("=i", text, number * _SIZE + 4, 0)
            elif kind:
                raise Damaged(f"instruction {number} refers to something of kind {kind}")
            number += 1
        number += 1
    return Function(bytes(text), maps)


def _source_register(registers: int) -> int:
    """Return src_reg of the bit fields dst_reg:4, src_reg:4: reversed on big-endian."""
    little = struct.pack("=H", 1)[0] == 1
    return registers >> 4 if little else registers & 15


def to_bytes(compiled: Compiled, key: str) -> bytes:
    """Return what is kept: a line that says what it is, a checksum, and the rest as JSON.

    Args:
        key: of what it was made of.
    """
    functions = {
        name: {
            "instructions": base64.b64encode(one.instructions).decode(),
            "maps": {str(number): wanted for number, wanted in one.maps.items()},
        }
        for name, one in compiled.functions.items()
    }
    document = {
        "key": key,
        "license": compiled.license,
        "kernel_version": compiled.kernel_version,
        "maps": [asdict(one) for one in compiled.maps],
        "functions": functions,
    }
    body = json.dumps(document).encode()
    return MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def from_bytes(data: bytes, key: str) -> Compiled:
    """Return a program out of what `pack` returned.

    Raises:
        Damaged: it is cut short, changed, or was made of something else.
    """
    front = len(MAGIC) + _DIGEST + 1
    body = data[front:]
    wanted = MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n"
    if len(data) > MOST_BYTES or data[:front] != wanted:
        raise Damaged("its checksum is another")
    try:
        document = json.loads(body)
        if document["key"] != key:
            raise Damaged("it was made of something else")
        return _compiled(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damaged(f"its form is not known: {error}") from None


def _compiled(document: Any) -> Compiled:
    maps = tuple(MapDefinition(**one) for one in document["maps"][:_MOST_MAPS])
    names = {one.name for one in maps}
    functions = {}
    for name, one in list(document["functions"].items())[:_MOST_PROGRAMS]:
        instructions = base64.b64decode(one["instructions"], validate=True)
        used = {int(number): str(wanted) for number, wanted in one["maps"].items()}
        count = len(instructions) // _SIZE
        whole = len(instructions) % _SIZE == 0 and all(0 <= at < count for at in used)
        if not (count and whole and names.issuperset(used.values())):
            raise Damaged(f"{name} is no program of these maps")
        functions[str(name)] = Function(instructions, used)
    return Compiled(str(document["license"]), int(document["kernel_version"]), maps, functions)
