"""Gathers: which zap a page went in, of those whose pages are freed together.

Without batching (MMU_GATHER_NO_GATHER: s390x) zap_pte_range() frees each page at once.
With mmu_gather a thread may zap many ranges and free the pages of all of them after the
last: exit_mmap() does. No event says where a gather begins; unmap_vmas() goes up through the
mm, so a zap that begins below the end of the one before belongs to another gather.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zaptrace.explain import kernel_functions
from zaptrace.explain.event_view import Moment, moment
from zaptrace.model.events import Events
from zaptrace.model.verdict import CodeSite

Resolve = Callable[[int], CodeSite | None]

MOST_ZAPS = 4096
"""Zaps of a gather that are looked back through; an mm of more VMAs is rare."""


@dataclass(frozen=True, slots=True)
class Gather:
    """The zaps that a page may have gone in, in order; the last one alone when it is known.

    Attributes:
        zaps: never empty.
        begin: place of the first of them in the order of all events.
    """

    zaps: tuple[Moment, ...]
    begin: int

    @property
    def last(self) -> Moment:
        """The zap that the thread was in, or had ended, when the page was freed."""
        return self.zaps[-1]

    def covering(self, mm: int | None, address: int | None) -> Moment | None:
        """Return the zap of an address; None when none of them covers it."""
        if mm is None or address is None:
            return None
        found = (
            one
            for one in reversed(self.zaps)
            if one.mm == mm and one.addr is not None and one.end is not None
            if one.addr <= address < one.end
        )
        return next(found, None)

    def around(self, event: Moment) -> Moment | None:
        """Return the zap that an event of the same thread was made in."""
        return next((one for one in reversed(self.zaps) if one.at < event.at), None)


def gather_of(
    events: Events, zaps: npt.NDArray[np.intp], stack: Sequence[int], resolve: Resolve
) -> Gather | None:
    """Return the zaps of the gather that a page was freed with; None when the thread made none.

    Args:
        zaps: places of the thread's zaps before the free, in order.
        stack: return addresses of the free, innermost first.
    """
    if not len(zaps):
        return None
    last = moment(events, int(zaps[-1]))
    if frees_at_once(stack, resolve):
        return Gather((last,), last.at)
    found = [last]
    for at in reversed(zaps[-MOST_ZAPS:-1].tolist()):
        one = moment(events, at)
        if not _goes_on(one, found[-1]):
            break
        found.append(one)
    return Gather(tuple(reversed(found)), found[-1].at)


def frees_at_once(stack: Sequence[int], resolve: Resolve) -> bool:
    """Return whether a stack is that of a zap that frees without a gather in between."""
    links = _functions(stack, resolve)
    return any(map(kernel_functions.zaps, links)) and not any(map(kernel_functions.gathers, links))


def frees_elsewhere(stack: Sequence[int], resolve: Resolve) -> bool:
    """Return whether a stack is that of a free neither in a zap nor after one."""
    links = _functions(stack, resolve)
    return bool(links) and not any(
        kernel_functions.zaps(one) or kernel_functions.gathers(one) for one in links
    )


def _functions(stack: Sequence[int], resolve: Resolve) -> list[str]:
    known = (resolve(address) for address in stack)
    return [name for site in known if site for name in kernel_functions.names_at(site)]


def _goes_on(one: Moment, following: Moment) -> bool:
    """Return whether two zaps in a row are in the same mm, the first wholly below the second."""
    if one.mm is None or one.mm != following.mm:
        return False
    return one.end is not None and following.addr is not None and one.end <= following.addr
