"""Code addresses -> source lines with their inline chains."""

from __future__ import annotations

import posixpath
from pathlib import Path

import drgn

from zaptrace.model.verdict import CodeSite

_LANDMARK = "init/main.c"  # where every kernel has start_kernel()


def code_site(
    prog: drgn.Program, address: int, *, is_return: bool = True, role: str | None = None
) -> CodeSite:
    """Name a code address.

    Args:
        address: run-time address.
        is_return: it is a return address, so the call just before it is meant.
        role: what the site did (see CodeSite).

    Returns:
        symbol, offset (bytes from the symbol to `address`), `file:line` of the
        innermost frame with the path relative to the kernel's tree, and every
        frame at that address as `function at file:line`, innermost first, the
        last one being the function that really holds the address.  What
        is not known is None or empty.
    """
    inside = address - 1 if is_return else address
    name: str | None = None
    offset: int | None = None
    try:
        symbol = prog.symbol(inside)
        name, offset = symbol.name, address - symbol.address
    except LookupError:
        pass
    chain: list[str] = []
    lines: list[str | None] = []
    for location in locations(prog, inside):
        line = _file_line(prog, location)
        lines.append(line)
        chain.append(f"{location.name() or '?'} at {line or '?'}")
    return CodeSite(
        symbol=name,
        offset=offset,
        source=lines[0] if lines else None,
        inline_chain=tuple(chain),
        role=role,
        address=address,
    )


def compiled_in(prog: drgn.Program) -> Path | None:
    """Return the source tree that the kernel was compiled in, when it is on this machine."""
    prefix = _tree_prefix(prog)
    tree = Path(prefix)
    return tree if tree.is_absolute() and (tree / _LANDMARK).is_file() else None


def locations(prog: drgn.Program, address: int) -> list[drgn.SourceLocation]:
    """Return the frames at an address, innermost first; none when there is no debug info for it."""
    try:
        return list(prog.source_location(address))
    except LookupError:
        return []


def _file_line(prog: drgn.Program, location: drgn.SourceLocation) -> str | None:
    if not location.filename:
        return None
    path = posixpath.normpath(location.filename).removeprefix(_tree_prefix(prog))
    return f"{path}:{location.line}" if location.line else path


def _tree_prefix(prog: drgn.Program) -> str:
    """Return what DWARF puts before a path of the kernel's tree: the build's folder, `../`, or
    nothing."""
    prefix = prog.cache.get("zaptrace_tree_prefix")
    if prefix is None:
        prefix = ""
        try:
            path = posixpath.normpath(prog.source_location("start_kernel")[-1].filename)
        except LookupError:
            path = ""
        if path.endswith("/" + _LANDMARK):
            prefix = path.removesuffix(_LANDMARK)
        prog.cache["zaptrace_tree_prefix"] = prefix
    return str(prefix)
