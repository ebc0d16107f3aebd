"""The recording of pages' lives in a repro boot: prepared, begun, marked at the stop."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from vm import breakpoints, plugin
from vm.breakpoints import Stops
from vm.plugin import Plugin
from vm.qemu import Guest
from vm.relocation import Anchors
from zaptrace.kernel.memory_map import MemoryMap, Variable, memory_map
from zaptrace.life.record_layout import PLACE_BITS
from zaptrace.life.recording import Recording
from zaptrace.model.errors import ZaptraceError

LARGEST_RANGE = 1 << PLACE_BITS
"""Bytes of struct pages that are believed, and that a record has room for: of 64 TiB of memory."""


class LifeRecorder:
    """What records a boot's stores to struct pages.

    Attributes:
        recording: the records; none before `arm`.
        base: the address of PFN 0's struct page, once it is known.
    """

    def __init__(
        self, recording: Recording, where: MemoryMap, library: Path, unrecorded: list[str]
    ) -> None:
        self.recording = recording
        self._unrecorded = unrecorded
        self.base: int | None = None
        self._where = where
        self.plugin = Plugin(library, recording.fd, where.texts, where.stack_shift)

    async def arm(self, guest: Guest, seconds: float, anchors: Anchors | None = None) -> str | None:
        """Run the guest until its kernel knows where struct pages will be, and record from there.

        Args:
            seconds: the time limit.
            anchors: what the kernel is found by where it runs elsewhere than it was linked.

        Returns:
            How the guest ended before that (see `Guest.run_until`); None when it did not.

        Raises:
            GuestLost: see `Guest.run_until`; or what the kernel says cannot be.
        """
        deadline = time.monotonic() + seconds
        early, known = self._where.early_vector, None
        start = Stops((self._where.start,), anchors)
        if early is not None and anchors is not None:
            found = await breakpoints.run_to_early_vector(guest, early, anchors, seconds)
            if found.ended != "breakpoint":
                return found.ended
            known = found.offset
            start = Stops(start.at(known or 0))
        stop = await breakpoints.run_to_first(guest, start, deadline - time.monotonic())
        if stop.ended != "breakpoint":
            return stop.ended
        by = known or stop.offset or 0
        base = await self._value(guest, self._where.base, by)
        size = await self._value(guest, self._where.size, by)
        direct = await self._value(guest, self._where.direct, by)
        if by and known is None:
            self._unrecorded.append(
                "Pages' lives begin when the kernel was found: it was moved, and what it stored "
                "before is missing."
            )
        if base and 0 < size <= LARGEST_RANGE and base % 8 == 0 and base + size <= 2**64:
            self.base = base
            if tables := self._where.tables:
                place = (tables.page_size, tables.offset)
                self.recording.follow_tables(*place, tables.mask, tables.value)
            moved = 0 if self._where.anywhere else by
            self.recording.arm(base, size, direct, moved)
        return None

    async def _value(self, guest: Guest, of: Variable, by: int) -> int:
        if of.address is None:
            return of.value or 0
        raw = await guest.read((of.address + by) % 2**64, 8)
        return int.from_bytes(raw, "little" if self._where.order == "<" else "big")

    def mark_stop(self) -> None:
        """Note that the guest is stopped, and will be dumped."""
        self.recording.mark_stop()


@contextlib.contextmanager
def life_recorder(arch: str, vmlinux: Path, unrecorded: list[str]) -> Iterator[LifeRecorder | None]:
    """Give a recorder for one boot; None where it cannot be, and `unrecorded` says why."""
    try:
        where = memory_map(vmlinux, arch)
        library = plugin.build()
        recording = Recording()
    except (ZaptraceError, OSError) as error:
        unrecorded.append(f"Pages' lives were not recorded: {error}.")
        yield None
        return
    with recording:
        yield LifeRecorder(recording, where, library, unrecorded)
