"""Members of kernel structs by every name that they have had."""

from __future__ import annotations

import drgn


def first_member(obj: drgn.Object, *names: str) -> drgn.Object:
    """Return the first member that a struct has.

    Args:
        obj: a struct, or a pointer to one.
        names: alternatives, newest first; the caller names the commit that renamed it.

    Raises:
        LookupError: it has none of them.
    """
    for name in names:
        try:
            return obj.member_(name)
        except LookupError:
            continue
    raise LookupError(f"{obj.type_.type_name()} has none of {', '.join(names)}")
