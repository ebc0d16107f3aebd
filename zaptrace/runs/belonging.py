"""Do a run's pieces belong together: one kernel, one boot?

Files are copied, renamed and mixed up.  What is known of each piece is compared
with what is known of the others; what one of them does not say is not held
against it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zaptrace.model.errors import BadInput
from zaptrace.model.events import ABSENT, Events, Kind, Records
from zaptrace.model.findings import AuditResult
from zaptrace.model.plan import ProbePlan
from zaptrace.model.splats import Splat
from zaptrace.runs.folder import RunFacts, RunFolder

NS = 1_000_000_000
SLACK_SECONDS = 2.0
"""How far printk's clock (local_clock) may be from the boot clock of the events."""
HINT = "explain the pieces of one boot: leave the file that is not of it out of the folder"


def check(
    folder: RunFolder,
    facts: RunFacts,
    events: Events | None,
    found: AuditResult | None,
    splats: Sequence[Splat],
) -> None:
    """See that capture, console, dump and plan are of one kernel and one boot.

    Raises:
        BadInput: two of them are not; names both.
    """
    plan = folder.plan()
    _same("architecture", _architectures(folder, facts, events, plan))
    _same("build ID", _build_ids(folder, events, plan))
    _same("kernel", _releases(folder, events, found, splats, plan))
    if events is not None:
        _same_time(folder, events, splats)
        _same_pages(folder, facts, events, found, splats)


def _same(what: str, known: list[tuple[str, str | None]]) -> None:
    """All the pieces that say something say the same."""
    said = [(name, value) for name, value in known if value]
    for name, value in said[1:]:
        first, wanted = said[0]
        if value != wanted:
            raise BadInput(
                f"{first} and {name} do not belong together: {what} {wanted} and {value}", HINT
            )


def _architectures(
    folder: RunFolder, facts: RunFacts, events: Events | None, plan: ProbePlan | None
) -> list[tuple[str, str | None]]:
    return [
        (f"{folder.path}/run.json", facts.arch),
        (f"{folder.path}/plan.json", plan.arch if plan else None),
        (str(folder.capture), events.meta.get("arch") if events else None),
    ]


def _build_ids(
    folder: RunFolder, events: Events | None, plan: ProbePlan | None
) -> list[tuple[str, str | None]]:
    """The dump's own is compared with the vmlinux when it is opened."""
    return [
        (f"{folder.path}/plan.json", plan.build_id if plan else None),
        (str(folder.capture), events.meta.get("build_id") if events else None),
    ]


def _releases(
    folder: RunFolder,
    events: Events | None,
    found: AuditResult | None,
    splats: Sequence[Splat],
    plan: ProbePlan | None,
) -> list[tuple[str, str | None]]:
    printed = next((splat.kernel_release for splat in splats if splat.kernel_release), None)
    return [
        (f"{folder.path}/plan.json", plan.release if plan else None),
        (str(folder.capture), events.meta.get("release") if events else None),
        (str(folder.vmcore), found.kernel_release if found else None),
        (str(folder.console), printed),
    ]


def _same_time(folder: RunFolder, events: Events, splats: Sequence[Splat]) -> None:
    """Events and reports are of the same stretch of a boot."""
    begin, end = _span(events)
    times = [splat.time for splat in splats if splat.time is not None]
    if not times or begin > end:
        return
    if max(times) + SLACK_SECONDS < begin or min(times) - SLACK_SECONDS > end:
        raise BadInput(
            f"{folder.capture} and {folder.console} do not belong together: events from "
            f"{begin:.3f} s to {end:.3f} s, reports from {min(times):.3f} s to {max(times):.3f} s",
            HINT,
        )


def _span(events: Events) -> tuple[float, float]:
    """Seconds of the first and the last event; the first behind the last when there is none."""
    clocks = events.records["clock"]
    clocks = clocks[(clocks != ABSENT) & (clocks > 0)]
    return (int(clocks.min()) / NS, int(clocks.max()) / NS) if len(clocks) else (1.0, 0.0)


def _same_pages(
    folder: RunFolder,
    facts: RunFacts,
    events: Events,
    found: AuditResult | None,
    splats: Sequence[Splat],
) -> None:
    """The page that the events say was refused first is the one that the others complain of."""
    refused = events.of_kind(Kind.BAD_PAGE)
    refused = refused[refused["pfn"] != ABSENT]
    if events.lost or not len(refused):
        return
    pages = set(np.unique(refused["pfn"]).tolist())
    begin, end = _span(events)
    printed = {
        splat.pfn
        for splat in splats
        if splat.kind == "bad_page_state" and splat.time is not None
        if begin <= splat.time <= end + SLACK_SECONDS
    } - {None}
    if printed and not printed & pages:
        raise _other_pages(folder.capture, folder.console, refused, printed)
    # Only a page whose mapcount was wrong is in the dump of that moment for sure.
    counted = int(refused["raw_mapcount"][0]) >= 0
    if found is not None and found.findings and facts.ended == "bad_page" and counted:
        listed = {one.pfn for one in found.findings} - {None}
        if not listed & pages:
            raise _other_pages(folder.capture, folder.vmcore, refused, listed)


def _other_pages(one: object, other: object, refused: Records, pages: set[int | None]) -> BadInput:
    first = min(pfn for pfn in pages if pfn is not None)
    return BadInput(
        f"{one} and {other} do not belong together: pfn {int(refused['pfn'][0]):#x} was refused "
        f"in the one, pfn {first:#x} is wrong in the other",
        HINT,
    )
