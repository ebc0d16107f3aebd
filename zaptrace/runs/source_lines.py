"""A verdict's code sites with all that a kernel's debug info says of them.

The rules are pure and get addresses that are resolved for them; a splat's
`symbol+offset` and the place of a probe get their lines here, from a vmlinux alone if need be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import drgn

from zaptrace.explain.kernel_functions import clears
from zaptrace.explain.sites import zap_line
from zaptrace.explain.verdict_table import row_of
from zaptrace.memory.resolve import code_site, locations
from zaptrace.model.splats import Frame, Splat
from zaptrace.model.verdict import CodeSite, Verdict

_STRIDE = 4
"""Bytes between the addresses looked up: less than taking a PTE down needs anywhere."""
_LARGEST = 1 << 16
"""Bytes of a function that is looked through; unmap_page_range has some 4,000."""


def sharpened(prog: drgn.Program, verdict: Verdict) -> Verdict:
    """Return the verdict with the lines of its sites, as far as the debug info has them.

    Args:
        prog: a dump, or a vmlinux alone.
    """
    sites = [_resolved(prog, site) for site in verdict.sites]
    freed = next((site for site in sites if site.role == "freed"), None)
    cleared = _clearing(prog, freed) if freed and row_of(verdict).cleared_in_zap else None
    if freed and cleared:
        others = [site for site in sites if site is not freed and site.role != cleared.role]
        sites = [freed, cleared, *others]
    return replace(verdict, sites=tuple(sites))


def addressed(prog: drgn.Program, splats: Sequence[Splat]) -> list[Splat]:
    """Return the splats with an address, as the debug info has it, for each frame that has a
    symbol."""
    return [
        replace(one, trace=tuple(_addressed(prog, frame) for frame in one.trace)) for one in splats
    ]


def _addressed(prog: drgn.Program, frame: Frame) -> Frame:
    if frame.symbol is None or frame.offset is None:
        return frame
    start = _start(prog, frame.symbol, frame.size)
    return frame if start is None else replace(frame, address=start + frame.offset)


def _resolved(prog: drgn.Program, site: CodeSite) -> CodeSite:
    """Return a site that is not resolved yet: a splat's, or a probe's own address."""
    is_return = site.role != "pte_cleared"
    if site.inline_chain and is_return:
        return site
    address = site.address
    if site.symbol is not None and site.offset is not None:
        # A printed address may have been moved by KASLR; the symbol has not.
        start = _start(prog, site.symbol)
        address = None if start is None else start + site.offset
    if address is None:
        return site
    found = code_site(prog, address, is_return=is_return, role=site.role)
    return replace(found, address=site.address) if found.inline_chain else site


def _start(prog: drgn.Program, symbol: str, size: int | None = None) -> int | None:
    """Return where a symbol begins; None when it has no symbol, or several match.

    Args:
        size: bytes as kallsyms counts them: up to the next symbol, so never fewer than ELF's.
    """
    starts = {one.address for one in prog.symbols(symbol) if size is None or one.size <= size}
    return starts.pop() if len(starts) == 1 else None


def _clearing(prog: drgn.Program, freed: CodeSite) -> CodeSite | None:
    """Return where the zap that freed a page had cleared its PTE.

    The functions that the free is inlined into are looked through, in the very copies that
    freed the page, from the innermost to the zap; the first that clears PTEs has cleared this
    one.  None when it does so at several lines, or calls another function for it.
    """
    inside = zap_line(freed)
    if inside is None or freed.symbol is None or _start(prog, freed.symbol) is None:
        return None
    clears_there = list(_clears_in(prog, freed.symbol))
    for at, link in enumerate(freed.inline_chain):
        function = _function(link)
        found = _within(clears_there, function, freed.inline_chain[at + 1 :])
        if found:
            lines = {line for line, _ in found}
            return found[0][1] if len(lines) == 1 else None
        if function == inside.function:
            break
    return None


def _clears_in(prog: drgn.Program, name: str) -> Iterator[CodeSite]:
    """Return all code of a function that takes PTEs down, inlined at any depth."""
    symbol = prog.symbol(name)
    for address in range(symbol.address, symbol.address + min(symbol.size, _LARGEST), _STRIDE):
        if _clears_at(prog, address):
            yield code_site(prog, address, is_return=False, role="pte_cleared")


def _within(
    sites: Sequence[CodeSite], function: str, outer: tuple[str, ...]
) -> list[tuple[str, CodeSite]]:
    """Those that lie in the copy of `function` that is inlined at `outer`, each with its line."""
    found = []
    for site in sites:
        chain = site.inline_chain
        at = len(chain) - len(outer) - 1
        if at > 0 and chain[at + 1 :] == outer and _function(chain[at]) == function:
            found.append((chain[at], site))
    return found


def _function(link: str) -> str:
    return link.partition(" at ")[0]


def _clears_at(prog: drgn.Program, address: int) -> bool:
    """Return whether the code at an address clears a PTE; quicker than resolving a whole code
    site."""
    return any(clears(one.name() or "") for one in locations(prog, address))
