"""Where an inlined call can be watched, when several ways lead into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from zaptrace.kernel.context import Context
from zaptrace.kernel.control_flow import ControlFlow, static_branches
from zaptrace.kernel.dwarf.inlined import Instance
from zaptrace.model.plan import ProbeSite

_MOST_PLACES = 32
"""Where all ways into an inlined call have met: how many instructions are looked at for one that
knows most arguments."""


def probe_addresses(context: Context, instance: Instance) -> Iterator[int]:
    """Yield where an inlined call can be watched, the nearest to its beginning first.

    None: only at the entry of what it is inlined into.
    """
    info, outer = context.info, instance.path[0]
    entry = info.entry_pc(outer)
    if entry is None:
        yield instance.pc
        return
    forks = static_branches(context.image, context.symbols)
    flow = ControlFlow(context.image, entry, info.ranges(outer), forks)
    spans = info.ranges(instance.die)
    # kernel/kprobes.c refuses what a jump label may rewrite (check_kprobe_address_safe()).
    labels = {at for at, _ in forks}
    tried: list[int] = []
    for at in islice(flow.probe_candidates(instance.pc, spans), _MOST_PLACES):
        tried.append(at)
        if at not in labels:
            yield at
    if tried and labels.issuperset(tried):
        after = (at for at in flow.candidates_after(tried[0], spans) if at not in labels)
        yield from islice(after, _MOST_PLACES)


def until_complete(candidates: Iterable[list[ProbeSite]]) -> list[list[ProbeSite]]:
    """Return candidates up to the first one that has all arguments: no further one knows more.

    Args:
        candidates: each a site, and what belongs to it.
    """
    made = []
    for one in candidates:
        made.append(one)
        if all(arg.location is not None for arg in one[0].args.values()):
            break
    return made
