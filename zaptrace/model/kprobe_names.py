"""How a plan's sites are named as kprobe events: one rule to set them up and to read them back."""

from __future__ import annotations

from zaptrace.model.events import EVENT
from zaptrace.model.plan import ProbeArg, ProbePlan, ProbeSite

GROUP = "kprobes"
"""The trace system that holds our events; boot-time tracing has no choice of another."""

_FROM_ARGS = frozenset(EVENT.names or ()) - {
    *("clock", "site", "cpu", "pid", "tgid", "stack", "kind", "origin", "reserved"),
}


def site_names(plan: ProbePlan) -> dict[str, ProbeSite]:
    """Map event names to sites, for every site of the plan, in its order."""
    return {f"zt{number}_{site.event}": site for number, site in enumerate(plan.sites)}


def recorded_args(site: ProbeSite, *, at_entry: bool = False) -> dict[str, ProbeArg]:
    """Return the arguments that a kprobe event at this site records: field name -> argument.

    Those that an event has a field for and that are available at this very
    address; the field bears the argument's name.

    Args:
        at_entry: instead, those that are available where the enclosing
            function begins.
    """
    return {
        name: arg
        for name, arg in site.args.items()
        if name in _FROM_ARGS and arg.location is not None and arg.at_entry == at_entry
    }
