"""Breakpoints at link-time addresses, set where the kernel comes to lie."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

from vm.qemu import Guest
from vm.relocation import Anchors

LOOK_SECONDS = 0.01
_WORD = 8
_PSW_ADDRESS = 8
"""Where a PSW has its address, after its mask."""


@dataclass(frozen=True, slots=True)
class Stops:
    """Where a guest is to be stopped.

    Attributes:
        addresses: link-time addresses; none to let it run.
        anchors: what its kernel's place is found by; None when that cannot be found: it is
            then taken to run where it was linked.
        names: what each of the addresses is called; none where that does not matter.
    """

    addresses: tuple[int, ...] = ()
    anchors: Anchors | None = None
    names: tuple[str, ...] = ()

    def at(self, offset: int) -> tuple[int, ...]:
        """Return the addresses in a kernel that runs so far above its link-time addresses."""
        return tuple((address + offset) % 2**64 for address in self.addresses)


@dataclass(frozen=True, slots=True)
class Stop:
    """How a guest that was run came to be stopped.

    Attributes:
        ended: as `Guest.run_until` says.
        at: the breakpoints that are still set.
        offset: how far above its link-time addresses the kernel runs, None when that was not
            found out.
    """

    ended: str
    at: tuple[int, ...] = ()
    offset: int | None = None


async def run_to(
    guest: Guest, stops: Stops, seconds: float, also: asyncio.Task[None] | None = None
) -> Stop:
    """Run a guest until it comes to one of the stops, or ends otherwise.

    Breakpoints are set where the kernel was linked, and again as soon as it is seen
    to run elsewhere.  A stop before that is one of the decompressor's, at the same
    address as it happens.

    Args:
        seconds, also: as for `Guest.run_until`.

    Raises:
        GuestLost: QEMU died, or its monitor no longer answers.
    """
    if not stops.addresses:
        return Stop(await guest.run_until((), seconds, also=also))
    deadline = time.monotonic() + seconds
    seeker, at = _Seeker(guest, stops), stops.addresses
    await seeker.look()
    if seeker.offset is not None:  # it has been running before
        at = stops.at(seeker.offset)
    while True:
        left = max(deadline - time.monotonic(), 0.0)
        ended, moved = await seeker.run(at, left, also)
        if stops.anchors is None or not (moved or ended == "breakpoint"):
            return Stop(ended, at, seeker.offset)
        wanted = stops.at(seeker.offset) if seeker.offset is not None else ()
        if at == wanted:
            return Stop(ended, at, seeker.offset)
        for address in at:
            await guest.clear_breakpoint(address)
        at = wanted


async def run_to_first(guest: Guest, stops: Stops, seconds: float) -> Stop:
    """Run a guest to a stop early in its boot, or until its kernel is seen to lie elsewhere.

    In a kernel that was moved such a stop has been passed before its place is known.

    Returns:
        `ended` is "breakpoint" in both cases; the offset is not 0 in the second.  No breakpoint
        is set any more.

    Raises:
        GuestLost: QEMU died, or its monitor no longer answers.
    """
    seeker = _Seeker(guest, stops)
    ended, elsewhere = await seeker.run(stops.addresses, seconds, None)
    for address in stops.addresses:
        await guest.clear_breakpoint(address)
    return Stop("breakpoint" if elsewhere else ended, (), seeker.offset or 0)


async def run_to_early_vector(guest: Guest, handler: int, anchors: Anchors, seconds: float) -> Stop:
    """Run a guest until the CPUs' own table names the first handler that its kernel puts there.

    The table is watched, so that not one instruction is missed, wherever the kernel lies.

    Args:
        handler: its link-time address.
        anchors: what the kernel is found by; its `vector` is a later handler.

    Returns:
        `ended` is "breakpoint" when the offset was found.
    """
    table = guest.config.arch.vector_table
    assert table.lowcore is not None, "handlers that can be watched are in the lowcore"
    at = table.lowcore + _PSW_ADDRESS
    first = replace(anchors, vector=handler)
    deadline = time.monotonic() + seconds
    await guest.gdb.set_watchpoint(at, _WORD)
    ended, offset = "breakpoint", None
    while ended == "breakpoint" and offset is None:  # the decompressor's own handlers come before
        ended = await guest.run_until((), max(deadline - time.monotonic(), 0.0))
        offset = await guest.kernel_offset(first) if ended == "breakpoint" else None
    await guest.gdb.clear_watchpoint(at, _WORD)
    return Stop(ended, (), offset)


class _Seeker:
    """Runs a guest and looks where its kernel lies meanwhile."""

    def __init__(self, guest: Guest, stops: Stops) -> None:
        self._guest = guest
        self._stops = stops
        self.offset: int | None = None

    async def run(
        self, at: tuple[int, ...], seconds: float, also: asyncio.Task[None] | None
    ) -> tuple[str, bool]:
        """Run until something ends it, or until the breakpoints are seen to be at wrong places.

        Returns:
            What `Guest.run_until` says, and whether the breakpoints ended it.
        """
        enough = asyncio.Event()
        moved = asyncio.create_task(self._moved(at, enough))
        either = asyncio.create_task(_first(moved, also))
        try:
            ended = await self._guest.run_until(at, seconds, also=either)
            elsewhere = ended == "timeout" and moved.done() and not (also and also.done())
        finally:
            either.cancel()
            enough.set()  # and not cancelled: a monitor's answer would come to no one
            await asyncio.gather(either, moved, return_exceptions=True)
        if ended == "breakpoint":
            await self.look()
        return ended, elsewhere

    async def _moved(self, at: tuple[int, ...], enough: asyncio.Event) -> None:
        """Wait until the kernel is seen to run where `at` is wrong."""
        while self.offset is None and not enough.is_set():
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)
        if self.offset is None or self._stops.at(self.offset) == at:
            await enough.wait()

    async def look(self) -> None:
        """Find out where the kernel lies, if that is to be seen now."""
        if self.offset is None and self._stops.anchors is not None:
            self.offset = await self._guest.kernel_offset(self._stops.anchors)


async def _first(*tasks: asyncio.Task[None] | None) -> None:
    """Wait for whichever is done first; none is cancelled with this."""
    await asyncio.wait([task for task in tasks if task], return_when=asyncio.FIRST_COMPLETED)
