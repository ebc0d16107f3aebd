"""Where an inlined call can be watched, when several ways lead into it."""

from __future__ import annotations

from itertools import islice

from zaptrace.kernel.context import Context
from zaptrace.kernel.flow import Flow, static_branches
from zaptrace.kernel.inlines import Instance

_MOST_PLACES = 32
"""Where all ways into an inlined call have met: how many instructions are looked at for one that
knows most arguments."""


def settled(context: Context, instance: Instance) -> list[int]:
    """Return where an inlined call can be watched, the nearest to its beginning first.

    Empty: only at the entry of what it is inlined into.
    """
    info, outer = context.info, instance.path[0]
    entry = info.entry_pc(outer)
    if entry is None:
        return [instance.pc]
    forks = static_branches(context.image, context.symbols)
    flow = Flow(context.image, entry, info.ranges(outer), forks)
    once = flow.once_in(instance.pc, info.ranges(instance.die))
    return list(islice(once, _MOST_PLACES))
