"""Each probe of the running kernel's plan, attached for a moment by each source."""

from __future__ import annotations

import os
from typing import Any

from probes.filters import Filters
from probes.open_source import SOURCES, open_source
from zaptrace.kernel import running_plan
from zaptrace.model.errors import ZaptraceError
from zaptrace.model.plan import ProbePlan
from zaptrace.runs.doctor.check import Check

AREA = "probes"
_SECONDS = 0.2


def checks() -> list[Check]:
    """Return the plan, and the probes when we are root."""
    plan = running_plan()
    found = [_planned(plan)]
    found += [
        Check(AREA, gap.event, works=False, says=gap.why, needed=False) for gap in plan.missing
    ]
    if os.geteuid() == 0:
        for source in SOURCES:
            found += _tried(plan, source)
    return found


def _planned(plan: ProbePlan) -> Check:
    events = sorted({site.event for site in plan.sites})
    says = f"{len(plan.sites)} sites: {', '.join(events)}"
    if plan.notes:
        says += f"; {'; '.join(plan.notes)}"
    return Check(AREA, "plan", works=bool(plan.sites), says=says, fix=None)


def _tried(plan: ProbePlan, name: str) -> list[Check]:
    """Return what one source could attach. Either will do, so neither is needed."""
    try:
        source = open_source(plan, Filters(), name)
    except ZaptraceError as error:
        return [Check(AREA, name, False, str(error), error.hint, needed=False)]
    try:
        events = source.read(_SECONDS)
        meta: dict[str, Any] = events.meta if events is not None else {}
    finally:
        source.close()
    sites = [f"{site['event']} at {site['symbol']}" for site in meta.get("sites", ())]
    planned = {(gap.event, gap.why) for gap in plan.missing}
    refused = [
        Check(AREA, f"{name} {gap['event']}", works=False, says=gap["why"], needed=False)
        for gap in meta.get("missing", ())
        if (gap["event"], gap["why"]) not in planned
    ]
    says = f"attached for a moment: {', '.join(sites) or 'nothing'}"
    return [Check(AREA, name, works=bool(sites), says=says, needed=False), *refused]
