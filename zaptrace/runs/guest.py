"""The repro guest: booted under probes, stopped, dumped, let go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from vm.qemu import Guest, GuestConfig, running
from zaptrace.model.errors import GuestLost
from zaptrace.model.progress import Listener, Step, step
from zaptrace.runs.folder import RunFolder

LET_GO_SECONDS = 3.0
"""How long a dumped guest may run on to print its own report."""
END_OF_SPLAT = b"Bad rss-counter state"
"""The last of the reports that one exiting process gives in the founding case."""
LOOK_SECONDS = 0.05


async def run_guest(
    config: GuestConfig,
    folder: RunFolder,
    listener: Listener,
    timing: dict[str, float],
    *,
    breakpoints: tuple[int, ...],
    seconds: float,
    dump: bool,
) -> str:
    """Boot, wait for the end, dump.

    Args:
        breakpoints: addresses to stop at; none to let the guest run.
        seconds: the time limit of the boot.
        dump: write `folder.vmcore`, as QEMU writes it.

    Returns:
        How it ended: "bad_page" (a breakpoint was hit), "panic", "exit" or "timeout".

    Raises:
        Missing, GuestLost: see `vm.qemu`.
    """
    async with running(config, folder.qemu_log) as guest:
        with step("boot", f"Boot under {config.accel}", listener, timing) as current:
            async with _following(config.console, current):
                ended = await guest.run_until(breakpoints, seconds)
            current.note = {"breakpoint": "stopped at bad_page"}.get(ended, ended)
        if dump:
            with step("dump", "Dump its memory", listener, timing):
                await guest.dump(folder.vmcore)
        if ended == "breakpoint":
            with step("let_go", "Let the kernel print its own report", listener, timing):
                await _let_go(guest, breakpoints, config.console)
    return "bad_page" if ended == "breakpoint" else ended


async def _let_go(guest: Guest, breakpoints: tuple[int, ...], console: Path) -> None:
    """Run on until the report stands on the console; that it comes is not certain."""
    for address in breakpoints:
        await guest.clear_breakpoint(address)
    watching = asyncio.create_task(_until_on(console, END_OF_SPLAT))
    try:
        await guest.run_until((), LET_GO_SECONDS, also=watching)
    except GuestLost:
        # It is dumped: whatever becomes of it now costs its report only.
        return
    finally:
        watching.cancel()


async def _until_on(console: Path, words: bytes) -> None:
    while words not in console.read_bytes():
        await asyncio.sleep(LOOK_SECONDS)


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


def last_line(console: Path) -> str:
    """The last whole line that stands on a console, printable and at most 60 characters."""
    try:
        with console.open("rb") as file:
            file.seek(max(0, console.stat().st_size - 4096))
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return ""
    whole = [line for line in lines if line.endswith(b"\n") and line.strip()]
    text = whole[-1].decode("ascii", "replace").strip() if whole else ""
    return "".join(char if char.isprintable() else " " for char in text)[:60]
