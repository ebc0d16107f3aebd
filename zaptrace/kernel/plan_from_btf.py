"""Probe plans without debug info: from BTF and the names of the kernel's functions.

What is inlined cannot be probed then.  Of each event the nearest function is
taken that this kernel has out of line, and its arguments lie where the calling
convention puts them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zaptrace.arch import Arch
from zaptrace.kernel.btf import Btf, Parameter
from zaptrace.kernel.kallsyms import functions_named
from zaptrace.kernel.targets import (
    ENTRIES,
    FIELD_OF_PARAMETER,
    MEMBER_OF,
    MEMBERS,
    ZAP,
    ZAP_AROUND,
    Target,
)
from zaptrace.model.plan import MissingEvent, ProbeArg, ProbePlan, ProbeSite

NO_DEBUG_INFO = (
    "made from BTF and kallsyms, without debug info: what is inlined is not seen, and no source "
    "lines are known"
)
NO_BTF = (
    "this kernel has no BTF (CONFIG_DEBUG_INFO_BTF) and no debug info is installed: where "
    "arguments lie is not known"
)
_BOOT_TRACING = "trace_boot_init"
"""kernel/trace/trace_boot.c: there when CONFIG_BOOTTIME_TRACING is set."""
_TLB_MM = ("tlb", "mmu_gather.mm")
_ZAP = Target(
    event="zap",
    functions=(ZAP_AROUND,),
    wanted=("mm", "addr", "end", "vma", "tlb", "pmd", "details", "caller"),
)


@dataclass(frozen=True, slots=True)
class Names:
    """Functions of a kernel, those that matter here.

    Attributes:
        plain: name -> its link-time address, or None where only run-time addresses are known.
        clones: compiler clones of them (`.isra`, `.constprop`, `.part`).
    """

    plain: dict[str, int | None]
    clones: tuple[str, ...] = ()


def names_in(raw: bytes, *, linked: bool = False) -> Names:
    """Return the functions of /proc/kallsyms or System.map that may be probed.

    One that is there twice is left out: a probe by name would be at either.

    Args:
        linked: its addresses are those of the link (System.map).
    """
    wanted = {name for target in (_ZAP, *ENTRIES) for group in target.functions for name in group}
    wanted |= {name for target in ENTRIES for name, _ in target.unseen} | {_BOOT_TRACING}
    plain: dict[str, int | None] = {}
    twice: set[str] = set()
    clones: list[str] = []
    for name, address in functions_named(raw, wanted):
        if "." in name:
            clones.append(name)
        elif name in plain:
            twice.add(name)
        else:
            plain[name] = address if linked else None
    return Names({name: at for name, at in plain.items() if name not in twice}, tuple(clones))


def plan_without_debug_info(
    names: Names, btf: Btf | None, arch: Arch, release: str | None, build_id: str | None
) -> ProbePlan:
    """Return the plan of a kernel whose debug info is not available.

    Args:
        btf: None when the kernel has none: events then come with no arguments.
    """
    maker = _Maker(names, btf, arch)
    for target in (_ZAP, *ENTRIES):
        maker.add(target)
    notes = [NO_DEBUG_INFO if btf is not None else NO_BTF]
    notes += maker.notes
    notes += [
        f"{site.function}() is watched for {ZAP}(), which is inlined into it: a zap is the whole "
        "range of a mapping"
        for site in maker.sites
        if site.event == "zap" and site.function != ZAP
    ]
    return ProbePlan(
        build_id=build_id,
        arch=arch.name,
        release=release,
        sites=tuple(maker.sites),
        missing=tuple(maker.missing),
        offsets=maker.offsets,
        boot_tracing=_BOOT_TRACING in names.plain,
        notes=tuple(notes),
    )


class _Maker:
    """Puts sites together."""

    def __init__(self, names: Names, btf: Btf | None, arch: Arch) -> None:
        self._names, self._btf, self._arch = names, btf, arch
        self.offsets = offsets_in(btf) if btf is not None else {}
        self.sites: list[ProbeSite] = []
        self.missing: list[MissingEvent] = []
        self.notes: list[str] = []

    def add(self, target: Target) -> None:
        """Add all sites of an event, or why it has none."""
        found = [name for group in target.functions if (name := self._first(group))]
        found = found or self._clones_of(target)
        self.sites += [self._site(target, name) for name in found]
        if not found:
            names = ", ".join(name for group in target.functions for name in group)
            self.missing.append(
                MissingEvent(target.event, f"no function of this kernel is {names}")
            )
        self.missing += [
            MissingEvent(target.event, f"{function} {why}")
            for function, why in target.unseen
            if function in self._names.plain
        ]

    def _first(self, group: Iterable[str]) -> str | None:
        return next((name for name in group if name in self._names.plain), None)

    def _clones_of(self, target: Target) -> list[str]:
        """Return what the compiler made of an event's functions: better than nothing."""
        every = {name for group in target.functions for name in group}
        # A .part clone is entered after the head of the function, which is inlined elsewhere.
        whole = [name for name in self._names.clones if ".part." not in name]
        return [name for name in whole if name.partition(".")[0] in every]

    def _site(self, target: Target, name: str) -> ProbeSite:
        parameters = self._btf.parameters(name) if self._btf is not None else None
        if parameters is None and self._btf is not None:
            self.notes.append(f"{name}() comes without arguments: BTF does not describe it")
        args = _Arguments(parameters or (), self.offsets, self._arch)
        found = {field: arg for field in target.wanted if (arg := args.arg(field)) is not None}
        return ProbeSite(
            event=target.event,
            symbol=name,
            offset=0,
            address=self._names.plain.get(name),
            inlined=False,
            source=None,
            args=found,
            function=name.partition(".")[0],
        )


class _Arguments:
    """A function's arguments at its first instruction, where the calling convention puts them."""

    def __init__(
        self, parameters: tuple[Parameter, ...], offsets: dict[str, int], arch: Arch
    ) -> None:
        self._offsets, self._arch = offsets, arch
        self._parameters = {
            FIELD_OF_PARAMETER.get(one.name, one.name): (number, one)
            for number, one in enumerate(parameters)
        }

    def arg(self, field: str) -> ProbeArg | None:
        """Return the argument for an event field; None when no function like this would give it."""
        if field == "caller":
            return ProbeArg(self._arch.return_address, "x64")
        if field == "mm" and _TLB_MM[0] in self._parameters:
            return self._member(*_TLB_MM, "x64")
        if field in MEMBER_OF:
            parameter, member = MEMBER_OF[field]
            if parameter not in self._parameters:
                return None
            return self._member(parameter, member, "x64" if field == "mm" else "s32")
        return self._own(field) if field in self._parameters else None

    def _own(self, field: str) -> ProbeArg:
        number, parameter = self._parameters[field]
        if number >= len(self._arch.argument_registers):
            return ProbeArg(None, note="passed on the stack")
        place = f"%{self._arch.argument_registers[number]}"
        if field == "reason":
            return ProbeArg(f"+0({place})", "string")
        if parameter.size not in (1, 2, 4, 8):
            return ProbeArg(None, note=f"{parameter.size} bytes wide")
        if parameter.size == 8 and not parameter.signed:
            return ProbeArg(place, "x64")
        return ProbeArg(place, f"{'s' if parameter.signed else 'u'}{8 * parameter.size}")

    def _member(self, parameter: str, member: str, kind: str) -> ProbeArg:
        offset = self._offsets.get(member)
        pointer = self._own(parameter)
        if offset is None:
            return ProbeArg(None, note=f"no {member} in this kernel's BTF")
        if pointer.location is None:
            return pointer
        return ProbeArg(f"{offset:+d}({pointer.location})", kind)


def offsets_in(btf: Btf) -> dict[str, int]:
    """Map `struct.member` and `sizeof STRUCT` to bytes; what this kernel lacks is absent."""
    found = {}
    for struct, names in MEMBERS:
        size = btf.struct_size(struct)
        places = (btf.offset(struct, name) for name in names)
        offset = next((place for place in places if place is not None), None)
        if size is not None:
            found[f"sizeof {struct}"] = size
        if offset is not None:
            found[f"{struct}.{names[-1]}"] = offset
    return found
