"""What the callers of zap_pte_range pass for its parameters.

Where a compiler has lost an inlined parameter, it often still knows the
variable that was passed for it.  Which one that is, is a fact about
mm/memory.c (targets.py), not a guess by name.
"""

from __future__ import annotations

from collections.abc import Iterator

from elftools.dwarf.die import DIE

from zaptrace.kernel.dwarf.dies import children, name_of
from zaptrace.kernel.dwarf.inlined import Instance
from zaptrace.kernel.targets import PASSED_BY_CALLER, PASSED_DOWN, ZAP_CALLERS, ZAP_OUTERMOST

_VARIABLES = ("DW_TAG_variable", "DW_TAG_formal_parameter")
_FUNCTIONS = ("DW_TAG_inlined_subroutine", "DW_TAG_subprogram")


def passed_variables(instance: Instance, name: str) -> Iterator[tuple[str, DIE]]:
    """Yield variables that hold what was passed for a parameter, nearest first.

    Yields:
        The function whose variable it is, and the variable.
    """
    for caller, scopes in _callers(instance):
        if name in PASSED_DOWN:
            wanted = name
        elif caller == ZAP_CALLERS[0] and name in PASSED_BY_CALLER:
            wanted = PASSED_BY_CALLER[name]
        else:
            return
        for scope in scopes:
            for variable, _ in children(scope):
                if variable.tag in _VARIABLES and name_of(variable) == wanted:
                    yield caller, variable


def runs_over_pmds(instance: Instance) -> bool:
    """Return whether each call gets what lies in one PMD of the outermost function's [addr, end).

    zap_pmd_range(): `next = pmd_addr_end(addr, end)`, and `addr = next` after
    each call; the loops around it cut at multiples of that.
    """
    outer = name_of(instance.path[0])
    callers = [caller for caller, _ in _callers(instance)]
    known_throughout = callers[:1] == [ZAP_CALLERS[0]] and callers[-1:] == [outer]
    return known_throughout and outer in ZAP_OUTERMOST


def _callers(instance: Instance) -> Iterator[tuple[str, list[DIE]]]:
    """Yield functions around an inlined call, innermost first, each with its scopes
    around the call, as long as they are those of which we know what they pass."""
    scopes: list[DIE] = []
    for scope in reversed(instance.path[:-1]):
        scopes.append(scope)
        if scope.tag in _FUNCTIONS:
            if name_of(scope) not in ZAP_CALLERS:
                return
            yield name_of(scope), scopes
            scopes = []
