"""A small client of QEMU's gdbstub: set breakpoints, run, wait for the stop, touch memory.

The protocol is gdb's remote serial protocol (packets `$data#checksum`, each
acknowledged by `+`).  What a guest looked like when it stopped comes from its dump;
here only a few words are read, of a guest that is to run on.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from zaptrace.model.errors import GuestLost

LONGEST_PACKET = 65536
PATIENCE = 10.0  # seconds for an answer; the stub answers in milliseconds
_STOPS = ("T", "S", "W", "X")
"""What packets begin with that say how a guest stopped; no answer to a command does."""


class GdbStub:
    """A connection to a gdbstub on a unix socket; the guest is stopped on arrival."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, path: Path) -> GdbStub:
        """Connect.

        Raises:
            OSError: no one listens there (yet).
        """
        reader, writer = await asyncio.open_unix_connection(str(path), limit=LONGEST_PACKET)
        return cls(reader, writer)

    async def set_breakpoint(self, address: int, length: int) -> None:
        """Stop the guest before it executes `address`.

        A hardware breakpoint (`Z1`): nothing is written into guest memory, so
        it holds from before the kernel is loaded on.

        Raises:
            GuestLost: the stub refuses or is gone.
        """
        await self._command(f"Z1,{address:x},{length}")

    async def clear_breakpoint(self, address: int, length: int) -> None:
        """Take a breakpoint back.

        Raises:
            GuestLost: the stub refuses or is gone.
        """
        await self._command(f"z1,{address:x},{length}")

    async def set_watchpoint(self, address: int, length: int) -> None:
        """Stop the guest after it has stored there, by a virtual address (`Z2`).

        Raises:
            GuestLost: the stub refuses or is gone.
        """
        await self._command(f"Z2,{address:x},{length}")

    async def clear_watchpoint(self, address: int, length: int) -> None:
        """Take a watchpoint back.

        Raises:
            GuestLost: the stub refuses or is gone.
        """
        await self._command(f"z2,{address:x},{length}")

    async def resume(self) -> None:
        """Let the guest run; the answer comes when it stops (`wait_stopped`).

        Raises:
            GuestLost: the stub is gone.
        """
        await self._send("c")

    async def wait_stopped(self) -> str:
        """Wait until the guest stops; the stop packet ("T05thread:01;").

        Raises:
            GuestLost: the stub is gone.
        """
        while True:
            packet = await self._receive()
            if packet.startswith(_STOPS):
                return packet

    async def read(self, address: int, size: int) -> bytes:
        """Read memory of the stopped guest, by a virtual address of the CPU that stopped.

        Raises:
            GuestLost: nothing is mapped there, or the stub is gone.
        """
        command = f"m{address:x},{size:x}"
        answer = await self._answer(command)
        try:
            data = bytes.fromhex(answer)
        except ValueError:
            data = b""
        if len(data) != size:
            raise GuestLost(f"QEMU's gdbstub refuses {command!r}: {answer!r}")
        return data

    async def write_physical(self, address: int, data: bytes) -> None:
        """Overwrite memory of the stopped guest, by its physical address.

        Raises:
            GuestLost: the stub refuses or is gone.
        """
        await self._command("Qqemu.PhyMemMode:1")
        try:
            await self._command(f"M{address:x},{len(data):x}:{data.hex()}")
        finally:
            await self._command("Qqemu.PhyMemMode:0")

    async def write(self, address: int, data: bytes) -> None:
        """Overwrite memory of the stopped guest, by a virtual address of the chosen CPU.

        Raises:
            GuestLost: the stub refuses or is gone.
        """
        await self._command(f"M{address:x},{len(data):x}:{data.hex()}")

    async def choose(self, cpu: int) -> None:
        """Mean this CPU (0, 1, ...) by registers and virtual addresses from now on.

        Raises:
            GuestLost: no answer, or the stub is gone.
        """
        await self._command(f"Hg{cpu + 1:x}")

    async def registers(self) -> bytearray:
        """Read the chosen CPU's registers: 8 bytes each in the guest's byte order, by number, up
        to the program counter and the general ones at least.

        Single ones (`p`) QEMU gives to those only who have read its description of them.

        Raises:
            GuestLost: the stub is gone.
        """
        answer = await self._answer("g")
        try:
            return bytearray.fromhex(answer)
        except ValueError:
            raise GuestLost(f"QEMU's gdbstub gives no registers: {answer!r}") from None

    async def set_registers(self, registers: bytes | bytearray) -> None:
        """Write all registers of the chosen CPU.

        Raises:
            GuestLost: the stub refuses or is gone.
        """
        await self._command(f"G{registers.hex()}")

    async def close(self) -> None:
        """Hang up.  A stopped guest stays stopped only until then: dump first."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _answer(self, command: str) -> str:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._send(command)
                # A guest that ended otherwise, by a power-off, may say only now that it stopped.
                while (packet := await self._receive()).startswith(_STOPS):
                    pass
                return packet
        except TimeoutError:
            raise GuestLost(f"QEMU's gdbstub did not answer {command!r}") from None

    async def _command(self, command: str) -> None:
        answer = await self._answer(command)
        if answer != "OK":
            raise GuestLost(f"QEMU's gdbstub refuses {command!r}: {answer!r}")

    async def _send(self, data: str) -> None:
        encoded = data.encode("ascii")
        self._writer.write(b"$%s#%02x" % (encoded, sum(encoded) % 256))
        try:
            await self._writer.drain()
        except OSError as error:  # ConnectionResetError first, BrokenPipeError from then on
            raise GuestLost("QEMU's gdbstub hung up") from error

    async def _receive(self) -> str:
        try:
            await self._reader.readuntil(b"$")
            body = await self._reader.readuntil(b"#")
            await self._reader.readexactly(2)  # the checksum; a unix socket does not garble
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
            raise GuestLost("QEMU's gdbstub hung up") from error
        self._writer.write(b"+")
        return body[:-1].decode("ascii", "replace")
