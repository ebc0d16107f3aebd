"""Where a value lies when a probe fires, and how ftrace is asked to fetch it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from zaptrace.arch import Arch
from zaptrace.kernel.dwarf.dies import CType
from zaptrace.model.plan import ProbeArg


class Unavailable(Exception):
    """A value that cannot be had; the message says why, for a person."""


OPTIMISED_OUT = "optimised out"


@dataclass(frozen=True, slots=True)
class Place:
    """A value as a register, followed through memory: `*(*(reg + a) + b) + addend`.

    Attributes:
        register: DWARF number; None for a constant, whose value is `addend`.
        steps: bytes to add before each 8-byte load, innermost first.
        addend: bytes to add to the last value loaded.
        at_entry: the register's value when the enclosing function was entered.
        computed: the last load is part of a computation of eight bytes, not of
            a variable in memory with a size of its own.
    """

    register: int | None
    steps: tuple[int, ...] = ()
    addend: int = 0
    at_entry: bool = False
    computed: bool = False

    def plus(self, count: int) -> Place:
        """`count` bytes further."""
        return replace(self, addend=self.addend + count)

    def load(self, *, computed: bool = False) -> Place:
        """What lies in memory where this points.

        Raises:
            Unavailable: this is a constant: an address that moves with KASLR.
        """
        if self.register is None:
            raise Unavailable("at a fixed address")
        steps = (*self.steps, self.addend)
        return replace(self, steps=steps, addend=0, computed=computed)

    def member(self, offset: int) -> Place:
        """A member of the struct that this points at, by its offset in bytes."""
        return self.plus(offset).load()


def probe_arg(place: Place, kind: CType, arch: Arch, note: str | None = None) -> ProbeArg:
    """A place as an ftrace fetch argument (Documentation/trace/kprobetrace.rst).

    Raises:
        Unavailable: ftrace has no word for it.
    """
    if place.computed and kind.size < 8:
        raise Unavailable("part of a computed value")
    type_ = _fetch_type(kind)
    if place.register is None:
        return ProbeArg(f"\\{place.addend}", type_, note=note)
    if place.register >= len(arch.dwarf_registers):
        raise Unavailable(f"in DWARF register {place.register}, which kprobes cannot read")
    location = f"%{arch.dwarf_registers[place.register]}"
    for step in place.steps:
        location = f"{step:+d}({location})"
    return ProbeArg(location, type_, addend=place.addend, at_entry=place.at_entry, note=note)


def absent(why: str) -> ProbeArg:
    """An argument that cannot be had."""
    return ProbeArg(None, note=why)


def _fetch_type(kind: CType) -> str:
    if kind.size not in (1, 2, 4, 8):
        raise Unavailable(f"{kind.size} bytes wide")
    if kind.size == 8 and not kind.signed:
        return "x64"
    return f"{'s' if kind.signed else 'u'}{8 * kind.size}"
