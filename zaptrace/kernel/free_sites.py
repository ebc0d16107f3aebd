"""Every site of free_pages_prepare(): each page on its way to the allocator passes there.

mm/page_alloc.c inlines it into what frees one page, a higher-order one, and a batch:
there each page of the batch passes by itself, which the entry of that function does not show.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from elftools.dwarf.die import DIE

from zaptrace.elf.symtab import Symbol
from zaptrace.kernel.context import DERIVED, Context
from zaptrace.kernel.dwarf.dies import name_of, origin, parameters, type_of
from zaptrace.kernel.dwarf.inlined import Instance, InstanceFinder
from zaptrace.kernel.dwarf.place import OPTIMISED_OUT, Place, Unavailable
from zaptrace.kernel.entry_sites import entry_of
from zaptrace.kernel.inlined_probes import probe_addresses, until_complete
from zaptrace.kernel.machinecode.boundary import starts_instruction
from zaptrace.kernel.targets import FREE, FREE_FIELDS, FREE_NEIGHBOURS
from zaptrace.model.plan import MissingEvent, ProbeArg, ProbeSite

EVENT = "page_free"


@dataclass(slots=True)
class FreeSites:
    """The `page_free` sites, and which frees have none."""

    sites: list[ProbeSite] = field(default_factory=list)
    missing: list[MissingEvent] = field(default_factory=list)


def free_sites(context: Context) -> FreeSites:
    """Find where pages are freed; no site where debug info does not know the function."""
    found, function = FreeSites(), _function(context)
    if function is None:
        return found
    for instance in InstanceFinder(context.info, function).instances():
        symbol = context.symbols.covering(instance.pc)
        if not instance.inlined and "DW_AT_inline" in function.attributes:
            # The kernel's `inline` is notrace (include/linux/compiler_types.h).
            why = f"{name_of(function)}() itself, as compaction calls it, is notrace"
            found.missing.append(MissingEvent(EVENT, f"{why}: kprobes refuse it"))
            continue
        site = _site(context, function, instance, symbol) if symbol is not None else None
        if site is not None:
            found.sites.append(site)
            continue
        where = f"{symbol.name}()" if symbol is not None else f"{instance.pc:#x}"
        why = f"{name_of(function)}() is inlined into {where} where not all ways in can be watched"
        found.missing.append(MissingEvent(EVENT, why))
    return found


def _function(context: Context) -> DIE | None:
    """Return the DIE that all others of the function are instances of."""
    for neighbour in FREE_NEIGHBOURS:
        for symbol in context.symbols.functions(neighbour):
            unit = context.info.unit_at(symbol.address)
            for name in FREE:
                if unit is not None and name in unit.functions:
                    return origin(unit.functions[name][0])
    return None


def _site(context: Context, function: DIE, instance: Instance, symbol: Symbol) -> ProbeSite | None:
    """Return the site of one instance; None where it cannot be watched."""
    if not instance.inlined:
        return _entry(context, symbol)
    if not starts_instruction(context.image, symbol.address, instance.pc):
        return None
    at = (replace(instance, pc=pc) for pc in probe_addresses(context, instance))
    sites = until_complete([_inlined(context, function, one, symbol)] for one in at)
    if not sites:  # the next best: where the function around it gets its page
        outer = _entry(context, symbol)
        return outer if outer is not None and "page" in outer.args else None
    (best,) = max(sites, key=lambda one: _known(one[0]))  # of equals the nearest to its beginning
    return best


def _entry(context: Context, symbol: Symbol) -> ProbeSite | None:
    entry = entry_of(context, symbol) if ".part." not in symbol.name else None
    if entry is None:
        return None
    fields = (*FREE_FIELDS, "caller")
    args = {name: entry.arg(name) for name in fields if entry.gives(name)}
    return ProbeSite(
        event=EVENT,
        symbol=symbol.name,
        offset=0,
        address=symbol.address,
        inlined=False,
        source=entry.source,
        args=args,
        function=entry.function,
    )


def _inlined(context: Context, function: DIE, instance: Instance, symbol: Symbol) -> ProbeSite:
    own = {name_of(one): one for one in parameters(instance.die)}
    kinds = {name_of(one): type_of(one) for one in parameters(function)}

    def place(name: str) -> Place:
        if name not in own:
            raise Unavailable(OPTIMISED_OUT)
        found = context.variables.place(own[name], instance.path[0], instance.pc)
        if found.at_entry:
            raise Unavailable(f"only where {symbol.name}() begins")
        return found

    def argument(name: str) -> ProbeArg:
        if name in DERIVED:
            return context.derived(name, place)
        return context.arg(lambda: place(name), kinds[name])

    fields = [name for name in FREE_FIELDS if name in DERIVED or name in kinds]
    args = {name: argument(name) for name in fields}
    return ProbeSite(
        event=EVENT,
        symbol=symbol.name,
        offset=instance.pc - symbol.address,
        address=instance.pc,
        inlined=True,
        source=context.info.source(instance.die, "call"),
        args=args,
        function=name_of(function),
    )


def _known(site: ProbeSite) -> tuple[bool, int]:
    """Return how much is available there: first of all what the event is filtered by."""
    counter: ProbeArg | None = site.args.get("raw_mapcount")
    filtered = counter is not None and counter.location is not None
    return filtered, sum(arg.location is not None for arg in site.args.values())
