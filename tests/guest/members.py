"""A kernel that lacks a member, a variable or a constant: for layouts yet to come."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import drgn
from drgn import Program, Type, TypeKind, TypeMember

_STRUCTS = (TypeKind.STRUCT, TypeKind.UNION)


class Hidden:
    """Hides one name of a program.

    Args:
        prog: a program with debug info.
        name: `variable`, `CONSTANT` or `struct.member`; a member also within anonymous structs, and
            in whatever variable or struct has the struct in itself or points to it.
    """

    def __init__(self, prog: Program, name: str) -> None:
        self._prog = prog
        self._tag, _, self._member = name.rpartition(".")
        self._busy = False
        prog.register_type_finder("hidden", self._find_type, enable_index=0)
        prog.register_object_finder("hidden", self._find_object, enable_index=0)

    def _find_type(self, _: Program, kinds: Any, name: str, __: str | None) -> Type | None:
        if self._busy or not self._tag or not kinds & {*_STRUCTS} or name != self._tag:
            return None
        with self._plain():
            return self._without(self._prog.type(f"struct {name}"), inside=False)

    def _find_object(self, _: Program, name: str, __: Any, ___: str | None) -> drgn.Object | None:
        if self._busy:
            return None
        if not self._tag:
            if name == self._member:
                raise LookupError(f"could not find {name!r}")
            return None
        with self._plain():
            try:
                found = self._prog[name]
            except LookupError:
                return None
            if found.address_ is None:
                return None
            kind = self._stripped(found.type_)
            return drgn.Object(self._prog, kind, address=found.address_)

    @contextlib.contextmanager
    def _plain(self) -> Iterator[None]:
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def _stripped(self, kind: Type) -> Type:
        """The type itself, a pointer to it, an array of it."""
        if kind.kind is TypeKind.POINTER and kind.type.kind in _STRUCTS:
            return self._prog.pointer_type(self._without(kind.type, inside=False))
        return self._by_value(kind)

    def _by_value(self, kind: Type) -> Type:
        if kind.kind is TypeKind.ARRAY:
            return self._prog.array_type(self._by_value(kind.type), kind.length)
        if kind.kind in _STRUCTS and kind.members is not None:
            return self._without(kind, inside=False)
        return kind

    def _without(self, kind: Type, *, inside: bool) -> Type:
        if kind.members is None:
            return kind
        target = inside or kind.tag == self._tag
        members = []
        for one in kind.members:
            if target and one.name == self._member:
                continue
            members.append(
                TypeMember(self._of_member(one, target), one.name, one.bit_offset)
                if one.bit_field_size is None
                else one
            )
        make = self._prog.struct_type if kind.kind is TypeKind.STRUCT else self._prog.union_type
        return make(kind.tag, kind.size, members)

    def _of_member(self, member: TypeMember, target: bool) -> Type:
        kind = member.type
        if kind.kind in _STRUCTS and member.name is None:
            return self._without(kind, inside=target)
        return self._by_value(kind)
