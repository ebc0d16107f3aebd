"""A kernel of which no more is known than that it has some functions, types and variables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import drgn


def kernel(
    functions: Collection[str] = (),
    *,
    typedefs: Collection[str] = (),
    arrays: Mapping[str, int] | None = None,
    constants: Collection[str] = (),
) -> drgn.Program:
    """An x86_64 program.

    Args:
        typedefs: names of types.
        arrays: name -> length of variables that are arrays.
        constants: names of enumerators.
    """
    prog = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))
    word = prog.int_type("unsigned long", 8, False)

    def symbols(
        _: drgn.Program, name: str | None, __: int | None, ___: bool
    ) -> Sequence[drgn.Symbol]:
        kind = drgn.SymbolBinding.GLOBAL, drgn.SymbolKind.FUNC
        return [drgn.Symbol(name, 0x1000, 16, *kind)] if name in functions else []

    def types(_: drgn.Program, __: Any, name: str, ___: str | None) -> drgn.Type | None:
        return prog.typedef_type(name, word) if name in typedefs else None

    def objects(_: drgn.Program, name: str, __: Any, ___: str | None) -> drgn.Object | None:
        if name in (arrays or {}):
            return drgn.Object(prog, prog.array_type(word, (arrays or {})[name]), address=0x2000)
        return drgn.Object(prog, word, value=1) if name in constants else None

    prog.register_symbol_finder("pretend", symbols, enable_index=0)
    prog.register_type_finder("pretend", types, enable_index=0)
    prog.register_object_finder("pretend", objects, enable_index=0)
    return prog
