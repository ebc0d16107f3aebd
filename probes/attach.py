"""A plan's sites made kprobe events of the running kernel; what it refuses is left out."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from probes.dynevents import DynamicEvents, Refused
from probes.instance import Instance
from probes.kprobe_text import condition, definition
from zaptrace.ftrace.formats import TraceFormat, parse_format
from zaptrace.kernel.kallsyms import Kallsyms
from zaptrace.model.errors import BadInput
from zaptrace.model.events import WITH_STACK
from zaptrace.model.kprobe_names import site_names
from zaptrace.model.plan import MissingEvent, ProbePlan, ProbeSite

"""Events that are rare and want to know how the kernel came there."""


@dataclass(slots=True)
class Attached:
    """What the kernel took.

    Attributes:
        sites: common_type -> site, with its run-time address, and format.
        names: event name in tracefs -> site.
        with_stack: common_type of those that a stack follows.
        missing: what it refused.
        notes: what else must be reported, one sentence each.
    """

    sites: dict[int, tuple[ProbeSite, TraceFormat]] = field(default_factory=dict)
    names: dict[str, ProbeSite] = field(default_factory=dict)
    with_stack: set[int] = field(default_factory=set)
    missing: list[MissingEvent] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def attach(
    plan: ProbePlan,
    events: DynamicEvents,
    instance: Instance,
    symbols: Kallsyms,
    also: str = "",
) -> Attached:
    """Define the plan's events and have the instance record them.

    Args:
        also: a condition on every event besides its own, "" for none.
    """
    attached = Attached()
    for plain_name, site in site_names(plan).items():
        # kprobe_profile lists misses by name alone: no other group has these.
        name = f"{plain_name}_{os.getpid()}"
        own, refusal = condition(site)
        if refusal:
            attached.missing.append(MissingEvent(site.event, f"{site.symbol}: {refusal}"))
            continue
        try:
            events.define(name, definition(site)[0])
            conditions = " && ".join(f"({one})" for one in (own, also) if one)
            form = parse_format(instance.format(events.group, name))
            if site.event in WITH_STACK:
                _add_stacks(attached, events, instance, name, form, conditions)
            instance.enable(events.group, name, conditions)
        except (Refused, OSError, BadInput) as error:
            attached.missing.append(MissingEvent(site.event, f"{site.symbol}: {error}"))
            continue
        _note(attached, name, _at_run_time(site, symbols), form)
    return attached


def _add_stacks(
    attached: Attached,
    events: DynamicEvents,
    instance: Instance,
    name: str,
    form: TraceFormat,
    conditions: str,
) -> None:
    try:
        instance.add_stacks(events.group, name, conditions)
    except Refused as error:
        attached.notes.append(f"{name} comes without stacks: {error}")
    else:
        attached.with_stack.add(form.id)


def _note(attached: Attached, name: str, site: ProbeSite, form: TraceFormat) -> None:
    if site.address is not None:
        # The site's own address, also where the kernel moved the probe after
        # an instruction that begins every function (x86_64's ENDBR).
        fields = {key: one for key, one in form.fields.items() if key != "__probe_ip"}
        form = replace(form, fields=fields)
    attached.sites[form.id] = (site, form)
    attached.names[name] = site


def _at_run_time(site: ProbeSite, symbols: Kallsyms) -> ProbeSite:
    """Return the site at its run-time address, None when that is not known."""
    start = symbols.address(site.symbol)
    return replace(site, address=None if start is None else start + site.offset)
