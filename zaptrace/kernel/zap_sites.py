"""Every site of zap_pte_range, and the entry of the function that it is inlined into."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from functools import cached_property

from elftools.dwarf.die import DIE

from zaptrace.elf.symtab import Symbol
from zaptrace.kernel.caller_variables import passed_variables, runs_over_pmds
from zaptrace.kernel.context import POINTER, Context
from zaptrace.kernel.dwarf.dies import name_of, parameters, type_of
from zaptrace.kernel.dwarf.inlined import Instance, InstanceFinder
from zaptrace.kernel.dwarf.place import OPTIMISED_OUT, Place, Unavailable
from zaptrace.kernel.entry_sites import Entry
from zaptrace.kernel.fetch_args import absent, probe_arg
from zaptrace.kernel.inlined_probes import probe_addresses, until_complete
from zaptrace.kernel.machinecode.boundary import starts_instruction
from zaptrace.kernel.targets import ZAP, ZAP_ENTER_FIELDS, ZAP_PARAMETERS
from zaptrace.model.plan import MissingEvent, ProbeArg, ProbeSite

NO_CODE = (
    "made from split debug info alone: without the kernel's code it is unknown whether all ways "
    f"into an inlined {ZAP}() pass its probe"
)


@dataclass(slots=True)
class ZapSites:
    """The `zap` and `zap_enter` sites, why any are missing, and what the user should know."""

    zaps: list[ProbeSite] = field(default_factory=list)
    enters: dict[str, ProbeSite] = field(default_factory=dict)
    missing: list[MissingEvent] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[ProbeSite]:
        """Every site."""
        return [*self.zaps, *self.enters.values()]


def zap_sites(context: Context) -> ZapSites:
    """Return where zaps are taken."""
    found = ZapSites()
    if context.zap is None:
        found.missing.append(MissingEvent("zap", f"no {ZAP} in this kernel's debug info"))
        return found
    for instance in InstanceFinder(context.info, context.zap).instances():
        symbol = context.symbols.covering(instance.pc)
        if symbol is None or not starts_instruction(context.image, symbol.address, instance.pc):
            why = f"debug info has {ZAP} at {instance.pc:#x}, where no instruction begins"
            found.missing.append(MissingEvent("zap", why))
        elif instance.inlined:
            _add_inlined(found, context, context.zap, instance, symbol)
        elif ".part." not in symbol.name:
            found.zaps.append(ZapSite(context, context.zap, instance, symbol).sites()[0])
    if not found.zaps and not found.missing:
        found.missing.append(MissingEvent("zap", f"{ZAP} has no code in this kernel"))
    return found


def _add_inlined(
    found: ZapSites, context: Context, function: DIE, instance: Instance, symbol: Symbol
) -> None:
    """Add the site of one inlined call, where each way into it passes."""
    if not context.image.at(symbol.address, 1) and NO_CODE not in found.notes:
        found.notes.append(NO_CODE)
    at = (replace(instance, pc=pc) for pc in probe_addresses(context, instance))
    sites = until_complete(ZapSite(context, function, one, symbol).sites() for one in at)
    several = f"{ZAP}() is inlined into {symbol.name}() with several ways in"
    if not sites:
        entered = ZapSite(context, function, instance, symbol).around()
        if entered is None:
            found.missing.append(MissingEvent("zap", f"{several}, and that has no entry"))
        elif entered not in found.zaps:
            found.zaps.append(entered)
            whole = "it is watched where that is entered: a zap is the whole range of a mapping"
            found.notes.append(f"{several}: {whole}")
        return
    if sites[0][0].address != instance.pc:
        found.notes.append(f"{several}: it is watched where they have met")
    zap, *enter = max(sites, key=lambda them: _known(them[0]))
    found.zaps.append(zap)
    for one in enter:  # one serves all zaps in its function
        known = found.enters.get(one.symbol, one)
        found.enters[one.symbol] = replace(one, args=known.args | one.args)


def _known(site: ProbeSite) -> int:
    """Return how many arguments are available there."""
    return sum(arg.location is not None for arg in site.args.values())


class ZapSite:
    """One site of zap_pte_range.

    Args:
        function: its abstract instance.
        instance: where its code is.
        symbol: the function symbol that holds it.
    """

    def __init__(self, context: Context, function: DIE, instance: Instance, symbol: Symbol) -> None:
        self._context = context
        self._instance = instance
        self._symbol = symbol
        self._kinds = {name_of(one): type_of(one) for one in parameters(function)}
        self._parameters = {name_of(one): one for one in parameters(instance.die)}

    def sites(self) -> list[ProbeSite]:
        """Return the `zap` site, then `zap_enter` when some argument is available only there."""
        instance, arch = self._instance, self._context.arch
        args = {"mm": self._mm()}
        args |= {name: self._arg(name) for name in ZAP_PARAMETERS if name in self._kinds}
        args |= self._whole_range(args)
        if not instance.inlined:
            args["caller"] = ProbeArg(arch.return_address, "x64")
        zap = ProbeSite(
            event="zap",
            symbol=self._symbol.name,
            offset=instance.pc - self._symbol.address,
            address=instance.pc,
            inlined=instance.inlined,
            source=self._context.info.source(instance.die, "call" if instance.inlined else "decl"),
            args=args,
            function=ZAP,
        )
        only_there = {name: arg for name, arg in args.items() if arg.at_entry}
        return [zap, self._enter(self._outer, only_there)] if only_there and self._outer else [zap]

    def around(self) -> ProbeSite | None:
        """Return the entry of the enclosing function as a `zap`; None without a symbol."""
        entry = self._outer
        if entry is None:
            return None
        own = {name: entry.arg(name) for name in ZAP_PARAMETERS if entry.gives(name)}
        return ProbeSite(
            event="zap",
            symbol=entry.symbol.name,
            offset=0,
            address=entry.symbol.address,
            inlined=False,
            source=entry.source,
            args={"mm": entry.arg("mm"), **own, "caller": entry.arg("caller")},
            function=entry.function,
        )

    def _enter(self, entry: Entry, args: dict[str, ProbeArg]) -> ProbeSite:
        """Return the entry of the enclosing function: arguments available nowhere else, and
        its own range, by which a reader sees whether a zap belongs to it."""
        own = {name: entry.arg(name) for name in ZAP_ENTER_FIELDS if entry.gives(name)}
        taken = {
            name: replace(arg, addend=0, at_entry=False, block=0, note=None)
            for name, arg in args.items()
        }
        return ProbeSite(
            event="zap_enter",
            symbol=entry.symbol.name,
            offset=0,
            address=entry.symbol.address,
            inlined=False,
            source=entry.source,
            args=own | taken,
            function=entry.function,
        )

    @cached_property
    def _outer(self) -> Entry | None:
        """The entry of the out-of-line function that has the code; None without a symbol."""
        die = self._instance.path[0]
        pc = self._context.info.entry_pc(die)
        symbol = self._context.symbols.covering(pc) if pc is not None else None
        if symbol is None or symbol.address != pc:
            return None
        return Entry(self._context, symbol, die)

    def _mm(self) -> ProbeArg:
        """Return tlb->mm, else vma->vm_mm: neither changes during the zap."""
        for parameter, member in (("tlb", "mmu_gather.mm"), ("vma", "vm_area_struct.vm_mm")):
            offset = self._context.offsets.get(member)
            if offset is None or parameter not in self._kinds:
                continue
            with contextlib.suppress(Unavailable):
                return probe_arg(
                    self._place(parameter)[0].member(offset), POINTER, self._context.arch
                )
        return absent("neither tlb nor vma is available")

    def _arg(self, name: str) -> ProbeArg:
        try:
            place, note = self._place(name)
            return probe_arg(place, self._kinds[name], self._context.arch, note)
        except Unavailable as why:
            reason = str(why)
        if name == "addr" and runs_over_pmds(self._instance):
            return self._cut_address(reason)
        return absent(reason)

    def _whole_range(self, args: dict[str, ProbeArg]) -> dict[str, ProbeArg]:
        """Return the whole range's end where the part's end is lost; its beginning too, where that
        depends on the end."""
        if "end" not in args or args["end"].location is not None:
            return {}
        if not runs_over_pmds(self._instance) or self._outer is None:
            return {}
        note = f"of the whole range: where this part of it ends is {args['end'].note}"
        lost = ["end", *(name for name in ("addr",) if args[name].block)]
        return {
            name: replace(self._outer.arg(name), at_entry=True, note=note)
            for name in lost
            if self._outer.gives(name)
        }

    def _place(self, name: str) -> tuple[Place, str | None]:
        """Return where a parameter lies, and what a person should know of it.

        Raises:
            Unavailable: nothing of it is left.
        """
        try:
            return self._own_place(name), None
        except Unavailable as why:
            for caller, variable in passed_variables(self._instance, name):
                with contextlib.suppress(Unavailable):
                    note = f"{why}; this is {name_of(variable)} of {caller}(), which passes it"
                    return self._variable_place(variable), note
            raise

    def _own_place(self, name: str) -> Place:
        if not self._instance.inlined and self._outer is not None:
            return self._outer.place(name)
        if name not in self._parameters:
            raise Unavailable(OPTIMISED_OUT)
        return self._variable_place(self._parameters[name])

    def _variable_place(self, variable: DIE) -> Place:
        """Return where a variable lies at the site.

        Raises:
            Unavailable: nowhere, or in what the enclosing function was given
                and that function has no entry to take it at.
        """
        place = self._context.variables.place(variable, self._instance.path[0], self._instance.pc)
        if place.at_entry and self._outer is None:
            raise Unavailable("at the entry of a function that bears no symbol there")
        return place

    def _cut_address(self, reason: str) -> ProbeArg:
        """Return where the range begins, from the whole range's beginning and this part's end."""
        if self._outer is None or not self._outer.gives("addr"):
            return absent(reason)
        arg = replace(self._outer.arg("addr"), at_entry=True)
        if arg.location is None:
            return absent(reason)
        size = self._context.arch.pmd_size
        note = f"{reason}; zap_pmd_range() cuts at PMDs: max(this, (end - 1) & -{size:#x})"
        return replace(arg, block=size, note=note)
