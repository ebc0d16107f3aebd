"""The repro guest: booted under probes, stopped, dumped, resumed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vm.breakpoints import Stop, Stops, run_to
from vm.qemu import Guest, GuestConfig, running
from vm.serial_console import last_line
from zaptrace.model.errors import GuestLost
from zaptrace.model.progress import Listener, Step, step
from zaptrace.runs.folder import RunFacts, RunFolder
from zaptrace.runs.kernel_death import Trouble
from zaptrace.runs.life_recorder import LifeRecorder

RESUMED_SECONDS = 60.0
"""How long a dumped guest may run on: to print its own report, and to show what came after."""
QUIET_SECONDS = 10.0
"""And how long without a word on its console: a busy machine emulates slowly, but not silently."""
END_OF_SPLAT = b"Bad rss-counter state"
"""The last of the reports that one exiting process gives in the founding case."""
LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class End:
    """How a guest's run ended.

    Attributes:
        ended: "bad_page" or "bad_table" (a breakpoint was hit), "panic", "oops", "exit" or
            "timeout".
        after: the same of what came after such a stop: "exit", "panic",
            "timeout" (its report was whole, or the time was up), "lost"; None
            when it was not stopped there.
    """

    ended: str
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """A guest that starts from a saved state.

    Attributes:
        state: a descriptor of the file, at its beginning.
        begin: what is done with it before it runs.
    """

    state: int
    begin: Callable[[Guest], Awaitable[None]]


async def run_guest(
    config: GuestConfig,
    folder: RunFolder,
    facts: RunFacts,
    listener: Listener,
    *,
    where: Stops,
    seconds: float,
    dump: bool,
    recorder: LifeRecorder | None = None,
    restored: Restored | None = None,
) -> End:
    """Boot, wait for the end, dump; after a stop let it run on, and dump what came after.

    Args:
        where: where to stop it; nowhere to let it run.
        seconds: the time limit of the boot.
        dump: write `folder.vmcore`, as QEMU writes it, and after a stop `folder.later`.
        recorder: begins early in the boot; its plugin is in `config`.
        restored: the saved state that it starts from; it is not booted.
        facts: get each step's time, where the kernel lay, and when there is no room for a dump,
            how the run ended.

    Raises:
        Missing, GuestLost: see `vm.qemu`.
        OSError: there is no room for the dump.
    """
    timing = facts.timing
    state = restored.state if restored else None
    async with running(config, folder.qemu_log, state) as guest:
        if restored:
            await restored.begin(guest)
        with step("boot", f"Boot under {config.accel}", listener, timing) as current:
            async with _following(config.console, current):
                ended = await recorder.arm(guest, seconds, where.anchors) if recorder else None
                stop = Stop(ended) if ended else await _run(guest, where, seconds)
                ended, facts.kernel_offset = stop.ended, stop.offset
                stopped_at = await _stopped_at(guest, stop, where)
            current.note = f"stopped at {stopped_at}" if ended == "breakpoint" else ended
        if dump:
            if recorder is not None:
                recorder.mark_stop()
            with step("dump", "Dump its memory", listener, timing):
                try:
                    await guest.dump(folder.vmcore)
                except (OSError, GuestLost):
                    # Half of it would leave no room for what explains the rest.
                    folder.vmcore.unlink(missing_ok=True)
                    facts.ended = stopped_at if ended == "breakpoint" else ended
                    folder.save_facts(facts)
                    raise
        if ended != "breakpoint":
            return End(ended)
        with step("let_go", "Let the kernel print its own report", listener, timing):
            after = await _resume(guest, stop.at, config.console)
        if dump and after != "lost":
            with step("look_again", "Dump what came after", listener, timing):
                after = await _dump_again(guest, folder.later, after)
    return End(stopped_at, after)


async def _stopped_at(guest: Guest, stop: Stop, where: Stops) -> str:
    """Return which of the stops a guest stands at: the first, where that is not seen."""
    if stop.ended != "breakpoint" or len(where.names) != len(stop.at):
        return "bad_page"
    at = await guest.standing_at(stop.at)
    return where.names[0 if at is None else stop.at.index(at)]


async def _run(guest: Guest, where: Stops, seconds: float) -> Stop:
    """Run to a stop, to the guest's end, or until its console reports the kernel's."""
    trouble = Trouble(guest.config.console)
    death = asyncio.create_task(trouble.reported())
    try:
        stop = await run_to(guest, where, seconds, also=death)
    finally:
        death.cancel()
    if stop.ended == "timeout" and trouble.kind is not None:
        return replace(stop, ended=trouble.kind)
    return stop


async def _resume(guest: Guest, stopped_at: tuple[int, ...], console: Path) -> str:
    """Run on until the report stands on the console, or to the guest's end; see `End.after`."""
    watching = asyncio.create_task(_until_reported(console))
    try:
        for address in stopped_at:
            await guest.clear_breakpoint(address)
        return await guest.run_until((), RESUMED_SECONDS, also=watching)
    except GuestLost:
        # It is dumped: an error from here on costs only what comes after the stop.
        return "lost"
    finally:
        watching.cancel()


async def _dump_again(guest: Guest, later: Path, after: str) -> str:
    """Dump it once more; see `End.after`."""
    try:
        await guest.dump(later)
    except (GuestLost, OSError):
        later.unlink(missing_ok=True)  # half a dump, or no room for one: the first one stands
        return "lost"
    return after


async def _until_reported(console: Path) -> None:
    """Wait for the end of the kernel's report, or until nothing more is said."""
    said, since = b"", time.monotonic()
    while END_OF_SPLAT not in said and time.monotonic() - since < QUIET_SECONDS:
        await asyncio.sleep(LOOK_SECONDS)
        now = console.read_bytes()
        if len(now) != len(said):
            said, since = now, time.monotonic()


@contextlib.asynccontextmanager
async def _following(console: Path, current: Step) -> AsyncIterator[None]:
    """Show the console's last line as the step's note."""

    async def follow() -> None:
        while True:
            await asyncio.sleep(4 * LOOK_SECONDS)
            current.advance(note=last_line(console))

    task = asyncio.create_task(follow())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
