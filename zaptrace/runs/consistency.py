"""Do a run's pieces belong together: one kernel, one boot?

Files are copied, renamed and mixed up.  What is known of each piece is compared
with what is known of the others; what one of them does not say is not held
against it.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from zaptrace.model import boot_ids
from zaptrace.model.errors import BadInput
from zaptrace.model.events import ABSENT, Events, Kind, Records
from zaptrace.model.findings import AuditResult
from zaptrace.model.plan import ProbePlan
from zaptrace.model.splats import Splat
from zaptrace.runs.dump_identity import Identity
from zaptrace.runs.folder import RunFacts, RunFolder

NS = 1_000_000_000
SLACK_SECONDS = 2.0
"""How far printk's clock (local_clock) may be from the boot clock of the events."""
Said = tuple[str, str | None]
"""A piece, and what it says; None when it does not."""
HINT = "explain the pieces of one boot: leave the file that is not of it out of the folder"


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a run folder holds; what is not there is None or empty.

    Attributes:
        dump: of which kernel and boot the vmcore is, when it could be opened.
        life: of which boot life.zap is, when it says so.
    """

    folder: RunFolder
    facts: RunFacts
    events: Events | None = None
    found: AuditResult | None = None
    splats: Sequence[Splat] = ()
    console: bytes = b""
    dump: Identity | None = None
    life: str | None = None


def check(pieces: Pieces) -> None:
    """Check that capture, console, dump, audit and plan come from one kernel and one boot.

    Raises:
        BadInput: two of them are not; names both.
    """
    plan, audited = pieces.folder.plan(), pieces.folder.audited()
    _same("architecture", _architectures(pieces, plan))
    _same("build ID", _build_ids(pieces, plan, audited))
    _same("kernel", _releases(pieces, plan))
    _same("boot id", _boot_ids(pieces, audited), boot_ids.same)
    if pieces.events is not None:
        if _meta(pieces, "boot_id") not in boot_ids.on_console(pieces.console):
            _same_time(pieces.folder, pieces.events, pieces.splats)
        _same_pages(pieces, pieces.events)


def _same(what: str, known: Sequence[Said], fit: Callable[[str, str], bool] = operator.eq) -> None:
    """Check that all the pieces that say something say the same."""
    said = [(name, value) for name, value in known if value]
    for (first, wanted), (name, value) in itertools.combinations(said, 2):
        if not fit(value, wanted):
            raise BadInput(
                f"{first} and {name} do not belong together: {what} {wanted} and {value}", HINT
            )


def _architectures(pieces: Pieces, plan: ProbePlan | None) -> list[Said]:
    return [
        (_file(pieces, "run.json"), pieces.facts.arch),
        (_file(pieces, "plan.json"), plan.arch if plan else None),
        (str(pieces.folder.capture), _meta(pieces, "arch")),
    ]


def _build_ids(pieces: Pieces, plan: ProbePlan | None, audited: Identity | None) -> list[Said]:
    return [
        (_file(pieces, "plan.json"), plan.build_id if plan else None),
        (str(pieces.folder.capture), _meta(pieces, "build_id")),
        (str(pieces.folder.vmcore), pieces.dump.build_id if pieces.dump else None),
        (_audit(pieces), audited.build_id if audited and pieces.found else None),
    ]


def _releases(pieces: Pieces, plan: ProbePlan | None) -> list[Said]:
    printed = (splat.kernel_release for splat in pieces.splats if splat.kernel_release)
    return [
        (_file(pieces, "plan.json"), plan.release if plan else None),
        (str(pieces.folder.capture), _meta(pieces, "release")),
        (str(pieces.folder.vmcore), pieces.found.kernel_release if pieces.found else None),
        (str(pieces.folder.console), next(printed, None)),
    ]


def _boot_ids(pieces: Pieces, audited: Identity | None) -> list[Said]:
    """Those of guests that zaptrace booted; a piece of another's boot has none."""
    printed = boot_ids.on_console(pieces.console)
    return [
        (_file(pieces, "run.json"), pieces.facts.boot_id),
        *((str(pieces.folder.console), one) for one in printed),
        (str(pieces.folder.capture), _meta(pieces, "boot_id")),
        (str(pieces.folder.vmcore), pieces.dump.boot_id if pieces.dump else None),
        (_audit(pieces), audited.boot_id if audited and pieces.found else None),
        (str(pieces.folder.life), pieces.life),
    ]


def _file(pieces: Pieces, name: str) -> str:
    return f"{pieces.folder.path}/{name}"


def _audit(pieces: Pieces) -> str:
    return str(pieces.folder.audit_file)


def _meta(pieces: Pieces, key: str) -> str | None:
    """Return what the capture says of itself; it is hostile."""
    said = pieces.events.meta.get(key) if pieces.events else None
    return said if isinstance(said, str) else None


def _same_time(folder: RunFolder, events: Events, splats: Sequence[Splat]) -> None:
    """Check that events and reports cover the same stretch of a boot.

    It is asked only where no boot id says that it is one boot: the events of a guest may end long
    before its reports, as on a slow machine.
    """
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
    """Return the seconds of the first and the last event; the first after the last without any."""
    clocks = events.records["clock"]
    clocks = clocks[(clocks != ABSENT) & (clocks > 0)]
    return (int(clocks.min()) / NS, int(clocks.max()) / NS) if len(clocks) else (1.0, 0.0)


def _same_pages(pieces: Pieces, events: Events) -> None:
    """Check that the page which the events say was refused first is the others' page."""
    folder, found = pieces.folder, pieces.found
    refused = events.of_kind(Kind.BAD_PAGE)
    refused = refused[refused["pfn"] != ABSENT]
    if events.lost or not len(refused):
        return
    pages = set(np.unique(refused["pfn"]).tolist())
    begin, end = _span(events)
    printed = {
        splat.pfn
        for splat in pieces.splats
        if splat.kind == "bad_page_state" and splat.time is not None
        if begin <= splat.time <= end + SLACK_SECONDS and begin <= end
    } - {None}
    if printed and not printed & pages:
        raise _other_pages(folder.capture, folder.console, refused, printed)
    # Only a page whose mapcount was wrong is in the dump of that moment for sure.
    counted = int(refused["raw_mapcount"][0]) >= 0
    if found is not None and found.findings and pieces.facts.ended == "bad_page" and counted:
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
