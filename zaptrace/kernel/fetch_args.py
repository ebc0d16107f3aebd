"""Places as ftrace fetch arguments (Documentation/trace/kprobetrace.rst)."""

from __future__ import annotations

from zaptrace.arch import Arch
from zaptrace.kernel.dwarf.dies import CType
from zaptrace.kernel.dwarf.place import Place, Unavailable
from zaptrace.model.plan import ProbeArg


def probe_arg(place: Place, kind: CType, arch: Arch, note: str | None = None) -> ProbeArg:
    """Return a place as an ftrace fetch argument.

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
    """Return an argument that is not available."""
    return ProbeArg(None, note=why)


def _fetch_type(kind: CType) -> str:
    if kind.size not in (1, 2, 4, 8):
        raise Unavailable(f"{kind.size} bytes wide")
    if kind.size == 8 and not kind.signed:
        return "x64"
    return f"{'s' if kind.signed else 'u'}{8 * kind.size}"
