"""Whether the kernel in a dump looked at pages when they were freed and allocated."""

from __future__ import annotations

import drgn

from zaptrace.kernel.page_checks import KEY


def pages_are_checked(prog: drgn.Program) -> bool:
    """Return whether bad pages were reported, by the static key that says so since v6.3.

    A kernel without the key always looks (see `zaptrace.kernel.page_checks`).  So does one with
    CONFIG_DEBUG_VM, in which the key is on from its first instruction.
    """
    try:
        return bool(prog[KEY].key.enabled.counter.value_())
    except (KeyError, LookupError, AttributeError, drgn.FaultError):
        return True
