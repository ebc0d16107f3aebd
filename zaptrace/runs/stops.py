"""Kernel addresses to stop a guest at."""

from __future__ import annotations

from zaptrace.model.plan import ProbePlan

HARDWARE = 4
"""Breakpoints that an x86_64 CPU has."""


def of_the_bug(plan: ProbePlan) -> tuple[int, ...]:
    """Where bad_page begins."""
    sites = [site for site in plan.sites if site.event == "bad_page" and not site.inlined]
    return tuple(site.address for site in sites if site.address is not None)


def on_every_way(plan: ProbePlan) -> tuple[int, ...]:
    """Where every boot comes by, once a process of it has ended: zaps and rmap removals."""
    sites = [site for site in plan.sites if site.event in ("zap", "rmap_remove")]
    return tuple(site.address for site in sites if site.address is not None)[:HARDWARE]
