"""Where in a kernel a guest is to be stopped."""

from __future__ import annotations

import dataclasses

from vm.breakpoints import Stops
from vm.relocation import anchors_of
from zaptrace.model.plan import ProbePlan

EVENTS = {"bad_page": ("bad_page",), "bad_table": ("bad_page", "bad_table")}
"""What `--stop-at` takes -> the events of the plan that a guest is stopped at."""
HARDWARE = 4
"""Breakpoints that an x86_64 CPU has."""


def of_the_bug(plan: ProbePlan, *events: str) -> Stops:
    """Return where functions that report a bug begin: as many as a CPU can be stopped at.

    Args:
        events: their names in the plan, `bad_page`, the most wanted first.
    """
    sites = [site for name in events for site in plan.sites if site.event == name]
    sites = [site for site in sites if not site.inlined and site.address is not None][:HARDWARE]
    found = _stops(plan, tuple(site.address for site in sites if site.address is not None))
    return dataclasses.replace(found, names=tuple(site.event for site in sites))


def on_every_way(plan: ProbePlan) -> Stops:
    """Return where every boot comes by, once a process of it has ended: zaps and rmap removals."""
    sites = [site for site in plan.sites if site.event in ("zap", "rmap_remove")]
    found = tuple(site.address for site in sites if site.address is not None)
    return _stops(plan, found[:HARDWARE])


def nowhere(plan: ProbePlan) -> Stops:
    """Return no stop, with what the kernel is found by."""
    return _stops(plan, ())


def _stops(plan: ProbePlan, addresses: tuple[int, ...]) -> Stops:
    return Stops(addresses, anchors_of(plan.anchors, plan.release))
