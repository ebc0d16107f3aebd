"""Where in a kernel a guest is to be stopped."""

from __future__ import annotations

from vm.breakpoints import Stops
from vm.relocation import anchors_of
from zaptrace.model.plan import ProbePlan

HARDWARE = 4
"""Breakpoints that an x86_64 CPU has."""


def of_the_bug(plan: ProbePlan) -> Stops:
    """Where bad_page begins."""
    sites = [site for site in plan.sites if site.event == "bad_page" and not site.inlined]
    return _stops(plan, tuple(site.address for site in sites if site.address is not None))


def on_every_way(plan: ProbePlan) -> Stops:
    """Where every boot comes by, once a process of it has ended: zaps and rmap removals."""
    sites = [site for site in plan.sites if site.event in ("zap", "rmap_remove")]
    found = tuple(site.address for site in sites if site.address is not None)
    return _stops(plan, found[:HARDWARE])


def nowhere(plan: ProbePlan) -> Stops:
    """Return no stop, with what the kernel is found by."""
    return _stops(plan, ())


def _stops(plan: ProbePlan, addresses: tuple[int, ...]) -> Stops:
    return Stops(addresses, anchors_of(plan.anchors, plan.release))
