"""BTF: a kernel's own description of its types and functions (Documentation/bpf/btf.rst).

/sys/kernel/btf/vmlinux has it where no debug info is installed.  Types are
records of many lengths, one after the other; that of every word, if a record
began there, is computed at once, and what is left to walk is one chain.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zaptrace.model.errors import BadInput

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")  # magic, version, flags, header size, types, names
_PTR, _STRUCT, _UNION, _ENUM, _TYPEDEF, _FUNC, _FUNC_PROTO = 2, 4, 5, 6, 8, 12, 13
_INT, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG, _ENUM64 = 1, 9, 10, 11, 18, 19
_SAME_SIZE = frozenset({_TYPEDEF, _VOLATILE, _CONST, _RESTRICT, _TYPE_TAG})
_SIGNED = 1  # BTF_INT_SIGNED, in the byte above an INT's bits
_FIXED = np.array([0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0], np.int64)
"""Words after the three that each record has, by kind; 0 is void, which has no record."""
_EACH = np.array([0, 0, 0, 0, 3, 3, 2, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 3], np.int64)
"""More words for each of its members."""
_DEEPEST = 16
"""Typedefs and qualifiers of each other; anonymous structs within each other."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A function's parameter.

    Attributes:
        size: bytes of its value; 0 when it is not known.
        signed: whether it is a signed number.
    """

    name: str
    size: int
    signed: bool


class Btf:
    """The types of one kernel.

    Args:
        raw: the file, or the .BTF section.
        order: `<` or `>`, the kernel's byte order.

    Raises:
        BadInput: it is no BTF, truncated, or of a kind that we do not know.
    """

    def __init__(self, raw: bytes, order: str) -> None:
        header = struct.Struct(order + _HEADER.format[1:])
        if len(raw) < header.size:
            raise BadInput("the kernel's BTF is truncated")
        magic, version, _, size, types_at, types_size, names_at, names_size = header.unpack_from(
            raw
        )
        if (magic, version) != (_MAGIC, 1):
            raise BadInput(f"the kernel's BTF has an unknown format ({magic:#x} {version})")
        if size + max(types_at + types_size, names_at + names_size) > len(raw):
            raise BadInput("the kernel's BTF is truncated")
        count = types_size // 4
        words = np.frombuffer(raw, order + "u4", count, size + types_at)
        self._words: npt.NDArray[np.int64] = words.astype(np.int64)
        self._names = raw[size + names_at : size + names_at + names_size]
        self._at = _records(self._words)
        self._kinds = _kind(self._words[self._at + 1])

    def parameters(self, function: str) -> tuple[Parameter, ...] | None:
        """Return a function's parameters in order; None when it is not described, or not as one."""
        found = {self._prototype(at) for at in self._named(function, _FUNC)}
        return found.pop() if len(found) == 1 else None

    def struct_size(self, name: str) -> int | None:
        """Return the size of a struct, bytes."""
        at = self._struct(name)
        return None if at is None else int(self._words[at + 2])

    def offset(self, name: str, member: str) -> int | None:
        """Return the offset of a struct's member, also inside anonymous ones; None without."""
        at = self._struct(name)
        return None if at is None else self._member(at, member, _DEEPEST)

    def _struct(self, name: str) -> int | None:
        found = self._named(name, _STRUCT)
        return found[0] if found else None

    def _named(self, name: str, kind: int) -> list[int]:
        """Return where records of a kind and name begin."""
        start = self._names.find(b"\0" + name.encode() + b"\0")
        if start < 0:
            return []
        of_kind = self._at[self._kinds == kind]
        rows: list[int] = of_kind[self._words[of_kind] == start + 1].tolist()
        return rows

    def _prototype(self, function: int) -> tuple[Parameter, ...]:
        at = self._type(int(self._words[function + 2]))
        if at is None or self._kind(at) != _FUNC_PROTO:
            return ()
        return tuple(
            self._parameter(name, kind)
            for name, kind in self._members(at, 2)
            if kind  # the last of them is void where more may follow (...)
        )

    def _parameter(self, name: int, kind: int) -> Parameter:
        for _ in range(_DEEPEST):
            at = self._type(kind)
            if at is None:
                break
            what = self._kind(at)
            if what in _SAME_SIZE:
                kind = int(self._words[at + 2])
                continue
            if what == _PTR:
                return Parameter(self._text(name), 8, signed=False)
            signed = what == _INT and bool(int(self._words[at + 3]) >> 24 & _SIGNED)
            sized = what in (_INT, _STRUCT, _UNION, _ENUM, _ENUM64)
            return Parameter(self._text(name), int(self._words[at + 2]) if sized else 0, signed)
        return Parameter(self._text(name), 0, signed=False)

    def _member(self, at: int, wanted: str, depth: int) -> int | None:
        packed = bool(self._words[at + 1] >> 31)
        for name, kind, bits in self._members(at, 3):
            offset = (bits & 0xFFFFFF if packed else bits) // 8
            if name:
                if self._text(name) == wanted:
                    return offset
                continue
            inner = self._type(kind)
            if inner is not None and depth and self._kind(inner) in (_STRUCT, _UNION):
                found = self._member(inner, wanted, depth - 1)
                if found is not None:
                    return offset + found
        return None

    def _members(self, at: int, width: int) -> list[list[int]]:
        count = int(self._words[at + 1]) & 0xFFFF
        rows: list[list[int]] = (
            self._words[at + 3 : at + 3 + count * width].reshape(-1, width).tolist()
        )
        return rows

    def _type(self, number: int) -> int | None:
        """Return where a type's record begins; None for void, and for what there is not."""
        return int(self._at[number - 1]) if 0 < number <= len(self._at) else None

    def _kind(self, at: int) -> int:
        return int(_kind(self._words[at + 1]))

    def _text(self, start: int) -> str:
        return self._names[start : self._names.find(b"\0", start)].decode(errors="replace")


def _kind(info: Any) -> Any:
    return info >> 24 & 0x1F


def _records(words: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return where each record begins.

    Raises:
        BadInput: a type is of an unknown kind, or the last one is cut off.
    """
    infos = words[1:]
    kinds = _kind(infos)
    known = kinds < len(_FIXED)
    kinds = np.where(known, kinds, 0)
    lengths = 3 + _FIXED[kinds] + _EACH[kinds] * (infos & 0xFFFF)
    # 0: nothing continues from here.
    steps = np.where(known & (kinds > 0), lengths, 0).tolist()
    starts, at, end = [], 0, len(words)
    while at < end - 2 and (step := steps[at]):
        starts.append(at)
        at += step
    if at != end:
        raise BadInput("the kernel's BTF is damaged, or has types of a kind that we do not know")
    return np.array(starts, np.int64)
