"""Where an inlined call can be watched, when several ways lead into it."""

from __future__ import annotations

from itertools import islice

from zaptrace.kernel.context import Context
from zaptrace.kernel.control_flow import ControlFlow, static_branches
from zaptrace.kernel.dwarf.inlined import Instance

_MOST_PLACES = 32
"""Where all ways into an inlined call have met: how many instructions are looked at for one that
knows most arguments."""


def probe_addresses(context: Context, instance: Instance) -> list[int]:
    """Return where an inlined call can be watched, the nearest to its beginning first.

    Empty: only at the entry of what it is inlined into.
    """
    info, outer = context.info, instance.path[0]
    entry = info.entry_pc(outer)
    if entry is None:
        return [instance.pc]
    forks = static_branches(context.image, context.symbols)
    flow = ControlFlow(context.image, entry, info.ranges(outer), forks)
    spans = info.ranges(instance.die)
    once = list(islice(flow.probe_candidates(instance.pc, spans), _MOST_PLACES))
    # kernel/kprobes.c refuses what a jump label may rewrite (check_kprobe_address_safe()).
    labels = {at for at, _ in forks}
    free = [at for at in once if at not in labels]
    if once and not free:
        after = (at for at in flow.candidates_after(once[0], spans) if at not in labels)
        return list(islice(after, _MOST_PLACES))
    return free
