"""QEMU's monitor: a dump through it, and the end of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient
from qemu.qmp.error import QMPError

from vm import sparse
from vm.migration import execute
from zaptrace.model.errors import GuestLost
from zaptrace.model.paths import scratch_folder

CONNECT_SECONDS = 20.0
DUMP_SECONDS = 300.0


async def dump_through(socket: Path, path: Path) -> None:
    """Dump a guest that another program started; it is paused meanwhile.

    Args:
        socket: its QMP unix socket.
        path: the file to write.

    Raises:
        GuestLost: no one answers there, or QEMU could not dump.
    """
    qmp = QMPClient("zaptrace")
    try:
        await asyncio.wait_for(qmp.connect(str(socket)), CONNECT_SECONDS)
        await dump(qmp, path)
    except TimeoutError:
        raise GuestLost(f"no monitor answers at {socket}") from None
    except QMPError as error:
        raise GuestLost(f"no monitor answers at {socket}: {error}") from None
    finally:
        await whole(hang_up(qmp))


async def dump(qmp: QMPClient, path: Path) -> None:
    """Let QEMU write into a pipe, and keep what is not zero."""
    with scratch_folder() as folder:
        pipe = folder / "dump"
        os.mkfifo(pipe, 0o600)
        # Our own writing end keeps the pipe from ending before QEMU has opened it.
        source = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        ours = os.open(pipe, os.O_WRONLY)
        os.set_blocking(source, True)
        given_up = threading.Event()
        receive = asyncio.to_thread(sparse.receive, source, path, given_up)
        receiving = asyncio.create_task(receive)
        arguments: dict[str, object] = {"paging": False, "protocol": f"file:{pipe}"}
        try:
            await execute(qmp, "dump-guest-memory", arguments, seconds=DUMP_SECONDS)
        except BaseException:
            given_up.set()  # a QEMU that is stuck holds its end of the pipe open
            raise
        finally:
            os.close(ours)
            await receiving  # its error (a full disk) is the cause of QEMU's


async def hang_up(qmp: QMPClient) -> None:
    """Disconnect; an error of that changes nothing."""
    with contextlib.suppress(QMPError, EOFError, OSError):
        await qmp.disconnect()


async def whole(ending: Coroutine[Any, Any, None]) -> None:
    """Await all of it, also when cancelled in between; that is reported afterwards.

    A disconnect() that is cancelled leaves its tasks' exceptions to no one:
    asyncio then prints them, with their tracebacks.
    """
    task = asyncio.create_task(ending)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError
