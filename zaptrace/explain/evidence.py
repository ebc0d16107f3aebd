"""What an explanation is made from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from zaptrace.explain.page_account import PageAccount
from zaptrace.life.changed_words import Changed
from zaptrace.life.freed_mapped import FreedMapped
from zaptrace.life.lost_tables import LostTable
from zaptrace.life.planted import Planted
from zaptrace.model.events import Events, Kind
from zaptrace.model.findings import AuditResult
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import CodeSite
from zaptrace.triage.console import BootFacts

PARTS = ("capture", "splat", "vmcore", "life")
"""What evidence is made of, as the scoreboard names it."""

ENDS = ("bad_page", "bad_table", "panic", "oops", "hang", "exit", "timeout")
"""How a run ends that was not cut short."""
LOG = "log"
"""What is known is a console's log: whose kernel may still run."""
NEEDED = ("zap", "rmap_remove", "bad_page")
"""Events without which a recording says nothing of what did not happen."""
ANY = ""
"""The name of lost events of an unknown kind."""
_EVENT = re.compile(
    r"\b(?:zt\d+_)?("
    + "|".join(kind.name.lower() for kind in Kind if kind is not Kind.LOST)
    + r")\b"
)
"""In a probe's name (`ftrace.site_names`) or a sentence about it, what it records."""
_DAMAGE = {
    "damaged_frames": "Frames of the capture are damaged",
    "damaged_records": "Records of the capture are damaged",
    "dropped_entries": "Texts and stacks of the capture were too many",
}


def no_source(_address: int) -> CodeSite | None:
    """Return a resolver that works without a vmlinux: it knows nothing."""
    return None


class Lives(Protocol):
    """Pages' lives, as a run kept them."""

    def account(
        self, pfn: int, audit: AuditResult | None, until_store: int | None = None
    ) -> PageAccount | None:
        """Return a page's life with its ledger; None when it was not kept.

        Args:
            audit: of the dump at the stop, where that is part of the evidence.
            until_store: of the life up to this store alone.
        """

    def freed_while_mapped(self) -> Sequence[FreedMapped]:
        """Return the pages that were freed while a PTE mapped them, the first one first."""

    def changed_unseen(self) -> Sequence[Changed]:
        """Return the members of struct pages that no recorded store had changed, at the stop."""

    def planted(self) -> Sequence[Planted]:
        """Return the members of struct pages that held what the kernel died of."""

    def lost_tables(self) -> Sequence[LostTable]:
        """Return the page tables that were never freed, the first one first."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known of one run; each part may be missing.

    Attributes:
        events: what the probes recorded, or None when there were none.
        splats: the reports on the console, in order.
        audit: page tables against counters in the dump taken where it `ended`, or None.
        resolve: return address -> its code site with the inline chain, or None
            when it is not known.
        unrecorded: what the probes could not be made to record, a sentence each.
        ended: how the run ended: `bad_page` (stopped at its first instruction),
            `panic`, `exit`, `timeout`, or anything else.
        console: the guest's console was kept, whether anything was reported on it or not.
        boot: what a log's boot says of the kernel; None for a run, which knows better.
        lives: every store to the struct pages of suspects, or None.
    """

    events: Events | None = None
    splats: Sequence[Splat] = ()
    audit: AuditResult | None = None
    resolve: Callable[[int], CodeSite | None] = no_source
    ended: str = "exit"
    unrecorded: tuple[str, ...] = ()
    console: bool = False
    boot: BootFacts | None = None
    lives: Lives | None = None

    @property
    def lost(self) -> int:
        """Events that could not be delivered."""
        return self.events.lost if self.events else 0

    @property
    def complete(self) -> bool:
        """Whether all that the rules need was recorded: a missing event then did not happen.

        One that lacks only events other than the NEEDED ones still is: it is as good as a
        recording that did not watch for them.
        """
        return self.saw(*NEEDED[: None if self.events and planned_sites(self.events) else 2])

    def saw(self, *names: str) -> bool:
        """Return whether every event of some kinds was recorded: one that is not there was none.

        Args:
            names: of event kinds, as the probe plan has them.
        """
        events = self.events
        if events is None or any(_damage(events)):
            return False
        lacking = {
            _event_of(one) for one in (*events.meta.get("unavailable", ()), *self.unrecorded)
        }
        lacking |= _lost(events).keys()
        if _never_came_by(events):
            lacking.add("zap")
        return self.watched.issuperset(names) and not lacking & {*names, ANY}

    @property
    def unseen_events(self) -> tuple[str, ...]:
        """What the recording lacks, a sentence each; nothing when there is no recording at all."""
        if self.events is None:
            return ()
        return (*_losses(self.events), *_lacking(self.events, self.unrecorded))

    @property
    def watched(self) -> frozenset[str]:
        """Names of the events that the probes take, or that are there where no plan says so."""
        return _watched(self.events) if self.events else frozenset()

    @property
    def stopped_inside(self) -> bool:
        """Whether the dump was taken when the bug struck: what came next is not in it."""
        return self.ended in ("bad_page", "bad_table", "panic", "oops")

    @property
    def ran_to_its_end(self) -> bool:
        """Whether the events reach the guest's own end, also when it was stopped in between."""
        return self.ended == "exit" or (
            self.events is not None and self.events.meta.get("after") == "exit"
        )

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of `PARTS` there are."""
        printed = self.console or bool(self.splats)
        there = (self.events is not None, printed, self.audit is not None, self.lives is not None)
        return tuple(part for part, known in zip(PARTS, there, strict=True) if known)

    def only(self, parts: Sequence[str]) -> Evidence:
        """Return the same run with less evidence."""
        return replace(
            self,
            events=self.events if "capture" in parts else None,
            splats=self.splats if "splat" in parts else (),
            console=self.console and "splat" in parts,
            audit=self.audit if "vmcore" in parts else None,
            lives=self.lives if "life" in parts else None,
        )


def planned_sites(events: Events) -> list[dict[str, Any]]:
    """Return the probe plan's sites that the capture carries; none when it carries no plan."""
    sites = events.meta.get("sites")
    return [one for one in sites if isinstance(one, dict)] if isinstance(sites, list) else []


def _watched(events: Events) -> frozenset[str]:
    kinds = set(np.flatnonzero(np.bincount(events.records["kind"])).tolist()) - {int(Kind.LOST)}
    seen = {kind.name.lower() for kind in Kind if kind in kinds}
    return frozenset(seen | {str(site.get("event")) for site in planned_sites(events)})


def _lost(events: Events) -> Counter[str]:
    """Event -> how many were lost.

    A ring does not know what it lost (ANY); a kprobe that was hit while another one ran
    knows its site.
    """
    records = events.of_kind(Kind.LOST)
    planned = {site.get("address"): str(site.get("event")) for site in planned_sites(events)}
    lost: Counter[str] = Counter()
    for address, count in zip(records["site"].tolist(), records["nr"].tolist(), strict=True):
        lost[planned.get(address, ANY)] += count
    return lost


def _losses(events: Events) -> Iterator[str]:
    """Yield one sentence for each event that was lost."""
    for event, number in _lost(events).items():
        were = "event was" if number == 1 else "events were"
        if event == ANY:
            yield (
                f"{number} {were} lost: an event that is not seen may have happened. "
                "A larger trace buffer would settle it."
            )
        else:
            yield (
                f"{number} {event} {were} lost, for the probe was hit while another one ran "
                "(in an interrupt): one that is not seen may have happened."
            )


def _never_came_by(events: Events) -> bool:
    """Return whether zaps were watched for and none was seen, though rmaps were removed."""
    kinds = events.records["kind"]
    planned = any(site.get("event") == "zap" for site in planned_sites(events))
    return planned and not (kinds == Kind.ZAP).any() and bool((kinds == Kind.RMAP_REMOVE).any())


def _event_of(said: str) -> str:
    """Return the kind of events that a probe's name or a sentence is about; ANY if none is
    named."""
    found = _EVENT.search(said)
    return found[1] if found else ANY


def _damage(events: Events) -> Iterator[str]:
    """Yield one sentence for each way in which events of any kind may be missing."""
    meta = events.meta
    for key, what in _DAMAGE.items():
        if meta.get(key):
            yield f"{what}: {meta[key]}. What was in them is not seen."
    said = meta.get("records")
    whole = not any(meta.get(key) for key in _DAMAGE)
    if isinstance(said, int) and said != len(events.records) and whole:
        yield f"The capture has {len(events.records)} of {said} records: its end is missing."
    yield from meta.get("damage", ())


def _lacking(events: Events, unrecorded: Sequence[str]) -> Iterator[str]:
    """Yield one sentence for each way in which a recording is not whole, but for losses."""
    yield from _damage(events)
    for name in events.meta.get("unavailable", ()):
        yield f"The kernel did not set up the probe {name}."
    yield from unrecorded
    if _never_came_by(events):
        yield (
            "No zap was recorded, though rmaps were removed: the probe may be at a place that the "
            "kernel does not come by."
        )
    # A capture without a plan cannot say that it watched for what never came.
    wanted = NEEDED if planned_sites(events) else NEEDED[:2]
    for name in sorted(set(wanted) - _watched(events)):
        yield f"No {name} was recorded: `zaptrace probes` says which probes this kernel has."
