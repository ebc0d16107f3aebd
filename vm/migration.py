"""A guest's state out of QEMU and in again: what it calls a migration, through a file.

The stream has everything but the disks: memory, CPUs, devices.  So a guest that has written to
a disk is not saved.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any, BinaryIO

from qemu.qmp import QMPClient
from qemu.qmp.error import QMPError

from zaptrace.model.errors import GuestLost

SAVE_SECONDS = 120.0
LOAD_SECONDS = 120.0
MOST_BYTES = 8 << 30
_LOOK_SECONDS = 0.01
_PIECE = 1 << 20
_UNLIMITED = 1 << 40  # bytes/s; QEMU's default is made for networks


async def execute(
    qmp: QMPClient, command: str, arguments: dict[str, object] | None = None, seconds: float = 10.0
) -> Any:
    """Run one monitor command; what it returns.

    Raises:
        GuestLost: it fails, or is not answered in time.
    """
    try:
        return await asyncio.wait_for(qmp.execute(command, arguments), seconds)
    except TimeoutError:
        raise GuestLost(f"QEMU's monitor did not answer {command!r} in {seconds:g} s") from None
    except QMPError as error:
        raise GuestLost(f"QEMU's monitor: {command}: {error}") from error


async def save(qmp: QMPClient, socket: Path, file: BinaryIO) -> str:
    """Write a stopped guest's state; the SHA-256 of it.

    Args:
        socket: where a unix socket can be made for that, in a folder that only we may enter.

    Raises:
        GuestLost: QEMU could not, or the guest has written to a disk.
        OSError: the file cannot be written.
    """
    await _nothing_written(qmp)
    received: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            digest = await _received(reader, file)
        except (OSError, ValueError) as error:
            if not received.done():
                received.set_exception(error)
        else:
            if not received.done():
                received.set_result(digest)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(receive, str(socket), limit=_PIECE)
    async with server:
        await execute(qmp, "migrate-set-parameters", {"max-bandwidth": _UNLIMITED})
        await execute(qmp, "migrate", {"uri": f"unix:{socket}"})
        try:
            async with asyncio.timeout(SAVE_SECONDS):
                digest = await received
                while (state := await _state(qmp)) in ("setup", "active", "device"):
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise GuestLost(f"QEMU did not save the guest in {SAVE_SECONDS:g} s") from None
        except ValueError as error:
            raise GuestLost(str(error)) from None
    if state != "completed":
        raise GuestLost(f"QEMU could not save the guest: {state}")
    return digest


async def _received(reader: asyncio.StreamReader, file: BinaryIO) -> str:
    """Keep what comes, up to its end; the SHA-256 of it."""
    digest, size = hashlib.sha256(), 0
    while piece := await reader.read(_PIECE):
        size += len(piece)
        if size > MOST_BYTES:
            raise ValueError(f"the guest's state is larger than {MOST_BYTES >> 30} GiB")
        digest.update(piece)
        file.write(piece)
    return digest.hexdigest()


async def _state(qmp: QMPClient) -> str:
    return str((await execute(qmp, "query-migrate")).get("status", "none"))


async def _nothing_written(qmp: QMPClient) -> None:
    for device in await execute(qmp, "query-blockstats"):
        if device["stats"]["wr_operations"]:
            raise GuestLost(f"the guest has written to its disk {device.get('device')}")


async def arrived(qmp: QMPClient) -> None:
    """Wait until QEMU has loaded a state; the guest is stopped then.

    Raises:
        GuestLost: it does not get there.
    """
    try:
        async with asyncio.timeout(LOAD_SECONDS):
            while (await execute(qmp, "query-status"))["status"] == "inmigrate":
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise GuestLost(f"QEMU did not restore the guest in {LOAD_SECONDS:g} s") from None
