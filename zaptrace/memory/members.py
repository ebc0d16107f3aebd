"""Members and types of a kernel by every name that they have had, newest first."""

from __future__ import annotations

import drgn


def first_member(obj: drgn.Object, *paths: str) -> drgn.Object:
    """Return the first member that a struct has.

    Args:
        obj: a struct, or a pointer to one.
        paths: alternatives, newest first, such as "mm" and "slot.mm"; the caller names the
            commit that renamed it.

    Raises:
        LookupError: it has none of them.
    """
    for path in paths:
        found = obj
        try:
            for name in path.split("."):
                found = found.member_(name)
        except LookupError:
            continue
        return found
    raise LookupError(f"{obj.type_.type_name()} has none of {', '.join(paths)}")


def first_type(prog: drgn.Program, *names: str) -> drgn.Type:
    """Return the first type that a kernel has.

    Args:
        names: alternatives, newest first: "struct ptdesc", "struct page".

    Raises:
        LookupError: it has none of them.
    """
    for name in names:
        try:
            return prog.type(name)
        except LookupError:
            continue
    raise LookupError(f"this kernel has none of {', '.join(names)}")
