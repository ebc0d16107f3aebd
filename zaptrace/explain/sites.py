"""Code sites: which lines of kernel source cleared, freed, reported and unmapped the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from zaptrace.explain import kernel_functions
from zaptrace.explain.event_view import Moment
from zaptrace.explain.evidence import Evidence, planned_sites
from zaptrace.explain.story import Story
from zaptrace.model.events import Events
from zaptrace.model.splats import Frame
from zaptrace.model.verdict import CodeSite
from zaptrace.triage.stacks import Way, of_allocator, read_stack

# Frees of pages that are no part of a larger one: until "mm: use folio_batch" (6.10) a list.
_ONE_PAGE = "free_unref_page_list"

# A zap of a swap entry may free the page that the swap cache held: no PTE of its own went.
_OF_SWAP = re.compile(r"free_swap_and_cache\w*|__try_to_reclaim_swap")


Resolver = Callable[[int], CodeSite | None]
"""Return address -> its code site, or None when that is not known."""


@dataclass(frozen=True, slots=True)
class ZapLine:
    """The innermost line inside a zap function: what a reader wants to see first."""

    function: str
    source: str | None


def zap_line(site: CodeSite) -> ZapLine | None:
    """Return the zap function that a code site lies in; None when it lies in none."""
    for link in site.inline_chain:
        function, _, source = link.partition(" at ")
        if kernel_functions.zaps(function):
            return ZapLine(function, source if source not in ("", "?") else None)
    if kernel_functions.zaps(site.symbol or ""):
        return ZapLine(site.symbol or "", site.source)
    return None


def line_of(role: str, sites: tuple[CodeSite, ...]) -> ZapLine | None:
    """Return the line inside a zap at which something was done, if it was done in one."""
    found = (zap_line(site) for site in sites if site.role == role)
    return next((line for line in found if line), None)


def freed_in_zap(sites: tuple[CodeSite, ...]) -> bool:
    """Return whether the page was freed by a zap."""
    return line_of("freed", sites) is not None


def freed_by_gather(sites: tuple[CodeSite, ...]) -> bool:
    """Return whether the page was freed after a zap, with everything that the zap had gathered."""
    return any(site.role == "freed" and _is_gather(site) for site in sites)


def _is_gather(site: CodeSite) -> bool:
    return kernel_functions.gathers(site.symbol or "") and zap_line(site) is None


def freed_by(sites: tuple[CodeSite, ...]) -> str | None:
    """Return the function that freed the page, where that is neither a zap nor a gather."""
    found = (
        own_function(site)
        for site in sites
        if site.role == "freed" and not zap_line(site) and not _is_gather(site)
    )
    return next(found, None)


def own_function(site: CodeSite) -> str:
    """Return the innermost function of a site that is not the allocator's, nor drops any
    reference."""
    links = (link.partition(" at ")[0] for link in site.inline_chain)
    return next((one for one in links if not of_allocator(one)), site.symbol or "?")


def freed_elsewhere(sites: tuple[CodeSite, ...]) -> bool:
    """Return whether the page was freed outside of any zap."""
    return freed_by(sites) is not None


def freed_in_an_interrupt(sites: tuple[CodeSite, ...]) -> bool:
    """Return whether an interrupt of the thread freed the page."""
    return kernel_functions.interrupts(freed_by(sites) or "")


def freed_alone(story: Story, resolve: Resolver) -> bool:
    """Return whether the page that was freed is known to be a whole one that a PTE mapped.

    A part of a large folio may be freed by a zap that never touched its own PTE.
    """
    stack = next((one.stack for one in (story.refused, story.freed) if one and one.stack), ())
    names = {site.symbol or "" for address in stack if (site := resolve(address))}
    if any(_OF_SWAP.fullmatch(name) for name in names):
        return False
    if story.freed and story.freed.order is not None:
        return story.freed.order == 0
    return _ONE_PAGE in names


def is_zap(address: int | None, resolve: Resolver) -> bool:
    """Return whether a return address lies in a zap function."""
    site = resolve(address) if address is not None else None
    return site is not None and zap_line(site) is not None


def code_sites(story: Story, evidence: Evidence) -> tuple[CodeSite, ...]:
    """Return the sites of a story, the one that freed the page first; each role at most once."""
    removed, zap = _last_removal(story), story.zap
    found = (
        _freed(story, evidence.resolve),
        _called("rmap_removed", removed.caller if removed else None, evidence),
        _probed("pte_cleared", zap.site if zap else None, evidence.events),
        _called("reported", _reporter(story), evidence),
    )
    return tuple(site for site in found if site)


def _last_removal(story: Story) -> Moment | None:
    """Return the last rmap removal in the order."""
    earlier = story.earlier if story.fault is None else None
    return story.removed_late or story.removed_again or story.removed or earlier


def _freed(story: Story, resolve: Resolver) -> CodeSite | None:
    """Return the innermost frame inside a zap, or of what interrupted it; else the gather's that
    flushed; else the innermost that is not the allocator's. Of the first stack with one."""
    return next(
        (site for stack in _stacks(story, resolve) if (site := _freer(stack, resolve))), None
    )


def _freer(stack: list[Frame], resolve: Resolver) -> CodeSite | None:
    gather: CodeSite | None = None
    other: CodeSite | None = None
    interrupt: CodeSite | None = None
    for frame in stack:
        site = resolve(frame.address) if frame.address is not None else None
        if site is None and frame.symbol is not None:
            site = CodeSite(frame.symbol, frame.offset, frame.source, address=frame.address)
        if site is None:
            continue
        if zap_line(site):
            # A zap of several ranges (madvise) has its gather, and flushes, in itself.
            return replace(interrupt or gather or site, role="freed")
        name = site.symbol or ""
        if kernel_functions.interrupts(name):
            interrupt = interrupt or site  # a fault of user space has no zap below it
        elif _is_gather(site):
            gather = gather or site
        elif other is None and name and not of_allocator(name):
            other = site
    freed = gather or other or interrupt
    return replace(freed, role="freed") if freed else None


def _stacks(story: Story, resolve: Resolver) -> Iterator[list[Frame]]:
    """Yield the stacks on which the page was freed, the most exact first, each innermost first.

    A page that bad_page() met in an allocation, or as a CPU's list was drained, was freed on
    another one.
    """
    if story.refused and refused_on(story, resolve) not in (Way.ALLOC, Way.DRAIN):
        yield [Frame(None, address=address) for address in _addresses(story.refused)]
    if story.freed:
        yield [Frame(None, address=address) for address in _addresses(story.freed)]
    if story.state and read_stack(story.state.trace).way is Way.FREE:
        yield [frame for frame in story.state.trace if frame.reliable]


def refused_on(story: Story, resolve: Resolver) -> Way:
    """Return what the task did when bad_page() looked at the page: by the event's stack, or a
    splat's."""
    if story.refused:
        known = (resolve(address) for address in _addresses(story.refused))
        names = (name for site in known if site for name in kernel_functions.names_at(site))
        way = read_stack([Frame(name) for name in names]).way
        if way is not Way.UNKNOWN:
            return way
    return read_stack(story.state.trace).way if story.state else Way.UNKNOWN


def _addresses(event: Moment) -> tuple[int, ...]:
    return (*(() if event.caller is None else (event.caller,)), *event.stack)


def _reporter(story: Story) -> int | None:
    """Return the return address of bad_page()."""
    bad = story.refused
    if bad is None:
        return None
    return bad.caller if bad.caller is not None else next(iter(bad.stack), None)


def _called(role: str, address: int | None, evidence: Evidence) -> CodeSite | None:
    site = evidence.resolve(address) if address is not None else None
    return replace(site, role=role) if site else None


def _probed(role: str, address: int | None, events: Events | None) -> CodeSite | None:
    """Return the place of a probe, as the probe plan in the capture describes it."""
    if events is None or address is None:
        return None
    found = (site for site in planned_sites(events) if site.get("address") == address)
    return next((_planned(role, site) for site in found), None)


def _planned(role: str, site: dict[str, Any]) -> CodeSite:
    source = site.get("source")
    chain = (f"{site.get('function')} at {source}",) if source and site.get("function") else ()
    return CodeSite(
        symbol=site.get("symbol"),
        offset=site.get("offset"),
        source=source,
        inline_chain=chain,
        role=role,
        address=site.get("address"),
    )
