"""Live guests that wait for their first command: restored from the cache, else booted."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from vm import saved_guest
from vm.qemu import Guest, GuestConfig, running
from vm.saved_guest import Snapshot
from vm.serial_console import last_line
from zaptrace.model import boot_ids
from zaptrace.model.errors import BadInput, GuestLost
from zaptrace.model.paths import write_whole

READY = b"zaptrace: ready"
BOOT_SECONDS = 240.0
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Waiting:
    """A guest that waits, and runs.

    Attributes:
        ended: done when it has powered off or panicked.
        boot_id: that of its command line (`zaptrace.model.boot_ids`).
        restored: its own id, when it is not the only one of that boot: it was restored, and its
            console begins with what the boot had printed.
    """

    guest: Guest
    ended: asyncio.Task[str]
    boot_id: str
    restored: str | None = None


async def waiting(config: GuestConfig, log: Path, later: str, stack: AsyncExitStack) -> Waiting:
    """Yield such a guest; boot and save one before where none like it is kept.

    Args:
        config: what to boot, without a boot id.
        log: the file that receives QEMU's words.
        later: the disk that it does not look at before it begins.
        stack: ends the guest.

    Raises:
        Missing, BadInput: see `vm.qemu.running`.
        GuestLost: it did not get there.
    """
    key = saved_guest.key_of(config, later)
    found = await _tried(config, log, key, stack)
    if found is None and not saved_guest.is_refused(key):
        try:
            await _save(config, log, key)
        except (BadInput, GuestLost, OSError):
            pass  # it cannot be saved; or not booted, which its boot reports
        else:
            found = await _tried(config, log, key, stack, new=True)
    return found or await _booted(config, log, stack)


async def _tried(
    config: GuestConfig, log: Path, key: str, stack: AsyncExitStack, *, new: bool = False
) -> Waiting | None:
    """Return the guest that is kept, restored; None without one, or when it cannot be loaded.

    Args:
        new: it has just been saved: where QEMU does not even take that, it is not tried again.
    """
    with saved_guest.kept(key) as found:
        if found is None:
            return None
        try:
            return await _restored(config, log, found, stack)
        except (BadInput, GuestLost) as error:
            saved_guest.remove(key)
            if new and isinstance(error, BadInput):
                saved_guest.refuse(key, str(error))
            return None


async def _booted(config: GuestConfig, log: Path, stack: AsyncExitStack) -> Waiting:
    boot_id = boot_ids.new()
    config.console.unlink(missing_ok=True)
    guest = await stack.enter_async_context(running(_named(config, boot_id), log))
    ended = _going_on(guest, stack)
    await _said(config.console, ended)
    return Waiting(guest, ended, boot_id)


async def _restored(
    config: GuestConfig, log: Path, found: Snapshot, stack: AsyncExitStack
) -> Waiting:
    """Start QEMU, have it load the state, and only then, if that is whole, let the guest run."""
    write_whole(config.console, found.console)
    checked = asyncio.create_task(asyncio.to_thread(found.is_whole))
    try:
        async with AsyncExitStack() as trial:
            context = running(_named(config, found.boot_id), log, found.state.fileno())
            guest = await trial.enter_async_context(context)
            if not await checked:
                raise GuestLost("the guest that is kept is not as it was saved")
            ended = _going_on(guest, trial)
            stack.push_async_exit(trial.pop_all())
    finally:
        await asyncio.wait({checked})
    return Waiting(guest, ended, found.boot_id, boot_ids.new())


async def _save(config: GuestConfig, log: Path, key: str) -> None:
    """Boot a guest, and keep it as it waits; another zaptrace that does so is waited for.

    Raises:
        BadInput, GuestLost: it does not boot, or cannot be saved.
        OSError: there is no room.
    """
    async with _locked(saved_guest.folder() / f".lock-{config.arch.name}"):
        with saved_guest.kept(key) as found:
            if found is not None:
                return
        boot_id = boot_ids.new()
        config.console.unlink(missing_ok=True)
        with saved_guest.writing(key) as path:
            async with AsyncExitStack() as stack:
                guest = await stack.enter_async_context(running(_named(config, boot_id), log))
                ended = _going_on(guest, stack)
                await _said(config.console, ended)
                await guest.pause()
                await ended
                with path.open("wb") as file:
                    digest = await guest.save(file)
            facts = {"boot_id": boot_id, "arch": config.arch.name, "kernel": str(config.kernel)}
            saved_guest.keep(key, path, digest, facts, config.console.read_bytes())


def _named(config: GuestConfig, boot_id: str) -> GuestConfig:
    return dataclasses.replace(config, append=f"{config.append} {boot_ids.argument(boot_id)}")


def _going_on(guest: Guest, stack: AsyncExitStack) -> asyncio.Task[str]:
    """Let a guest run; how it ends."""
    ended = asyncio.create_task(guest.run_until((), float("inf")))

    async def forget() -> None:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)

    stack.push_async_callback(forget)
    return ended


async def _said(console: Path, ended: asyncio.Task[str]) -> None:
    """Wait until the guest has said that it is ready."""
    deadline = asyncio.get_running_loop().time() + BOOT_SECONDS
    while READY not in (console.read_bytes() if console.exists() else b""):
        if ended.done() or asyncio.get_running_loop().time() > deadline:
            how = ended.result() if ended.done() else f"silent for {BOOT_SECONDS:g} s"
            raise GuestLost(
                f"the live guest did not reach user space ({how}); its console ends with: "
                f"{last_line(console) or '(nothing)'}"
            )
        await asyncio.sleep(_LOOK_SECONDS)


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Hold a lock on a file; waiting for it does not hold up the loop."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOOK_SECONDS)
        yield
