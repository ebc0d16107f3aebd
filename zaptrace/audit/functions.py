"""Which functions a kernel has: they date it where no member does."""

from __future__ import annotations

import drgn


def has_function(prog: drgn.Program, name: str) -> bool:
    """Return whether the kernel has a function of its own of that name."""
    # By symbol: the debug info of a function may be a copy without an address.
    try:
        prog.symbol(name)
    except LookupError:
        return False
    return True
