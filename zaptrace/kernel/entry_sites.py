"""Probe sites at the entry of functions: rmap removal, frees, reports."""

from __future__ import annotations

from dataclasses import replace

from elftools.dwarf.die import DIE

from zaptrace.elf.symtab import Symbol
from zaptrace.kernel.context import DERIVED, Context
from zaptrace.kernel.dwarf.dies import name_of, origin, parameters, type_of
from zaptrace.kernel.dwarf.place import OPTIMISED_OUT, Place, Unavailable
from zaptrace.kernel.targets import FIELD_OF_PARAMETER, Target
from zaptrace.model.plan import MissingEvent, ProbeArg, ProbeSite


class Entry:
    """The entry of one function, its parameters where they lie there.

    Args:
        symbol: the function.
        die: its subprogram DIE.
    """

    def __init__(self, context: Context, symbol: Symbol, die: DIE) -> None:
        self._context = context
        self.symbol = symbol
        self._die = die
        # As the function was written, and as it was compiled.
        self._written = {name_of(one): one for one in parameters(origin(die))}
        self._compiled = {name_of(one): one for one in parameters(die)}
        self._parameter_of = {FIELD_OF_PARAMETER.get(one, one): one for one in self._written}

    @property
    def function(self) -> str:
        """The function's name in the source."""
        return name_of(self._die)

    @property
    def source(self) -> str | None:
        """`file:line` of the function."""
        return self._context.info.source(self._die, "decl")

    def gives(self, field: str) -> bool:
        """Return whether a function with these parameters is expected to give an event field."""
        needed = DERIVED[field][0] if field in DERIVED else field
        return field == "caller" or needed in self._parameter_of

    def place(self, name: str) -> Place:
        """Return where a parameter lies at the function's first instruction.

        A function that bears its own name follows the calling convention, also
        where debug info has nothing to say of a parameter.  What the compiler
        made out of it (`.isra.0`) has parameters of its own: there DWARF speaks.

        Raises:
            Unavailable: it is not there.
        """
        if name not in self._written:
            raise Unavailable(f"{self.symbol.name} has no parameter {name}")
        if self.symbol.is_clone:
            if name not in self._compiled:
                raise Unavailable(OPTIMISED_OUT)
            pc = self.symbol.address
            return self._context.variables.place(self._compiled[name], self._die, pc)
        number = list(self._written).index(name)
        arch = self._context.arch
        if number >= len(arch.argument_registers):
            raise Unavailable("passed on the stack")
        return Place(arch.dwarf_registers.index(arch.argument_registers[number]))

    def arg(self, field: str) -> ProbeArg:
        """Return the argument for an event field that this entry gives."""
        if field == "caller":
            return ProbeArg(self._context.arch.return_address, "x64")
        if field in DERIVED:
            return self._context.derived(field, self.place)
        name = self._parameter_of[field]
        kind = type_of(self._written[name])
        if field != "reason":
            return self._context.arg(lambda: self.place(name), kind)
        # The fetch type `string` reads the text where `+0(PLACE)` points.
        text = self._context.arg(lambda: self.place(name).load(), kind)
        return text if text.location is None else replace(text, type="string")


def entry_of(context: Context, symbol: Symbol) -> Entry | None:
    """Return the entry of a function; None when debug info does not know it."""
    unit = context.info.unit_at(symbol.address)
    if unit is None:
        return None
    name = symbol.name.partition(".")[0]
    die = unit.function_at(symbol.address, name, context.info.entry_pc)
    return Entry(context, symbol, die) if die is not None else None


def entry_sites(context: Context, target: Target) -> tuple[list[ProbeSite], list[MissingEvent]]:
    """Return all sites of one event, and what it cannot give."""
    sites = [
        site
        for group in target.functions
        for symbol in _first_known(context, group)
        if (site := _site(context, target, symbol)) is not None
    ]
    missing = [
        MissingEvent(target.event, f"{function} {why}")
        for function, why in target.unseen
        if context.symbols.functions(function)
    ]
    if not sites:
        names = ", ".join(name for group in target.functions for name in group)
        missing.insert(0, MissingEvent(target.event, f"no function of this kernel is {names}"))
    return sites, missing


def _first_known(context: Context, group: tuple[str, ...]) -> list[Symbol]:
    for name in group:
        # A .part clone is entered after the head of the function, which is inlined elsewhere.
        found = [one for one in context.symbols.functions(name) if ".part." not in one.name]
        if found:
            return found
    return []


def _site(context: Context, target: Target, symbol: Symbol) -> ProbeSite | None:
    """Return the site at one function's entry; None when debug info does not know it."""
    entry = entry_of(context, symbol)
    if entry is None:
        return None
    return ProbeSite(
        event=target.event,
        symbol=symbol.name,
        offset=0,
        address=symbol.address,
        inlined=False,
        source=entry.source,
        args={field: entry.arg(field) for field in target.wanted if entry.gives(field)},
        function=entry.function,
    )
