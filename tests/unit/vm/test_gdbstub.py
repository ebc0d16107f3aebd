"""The gdbstub client against a stub that speaks the protocol's other half."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from vm.gdbstub import GdbStub
from zaptrace.model.errors import GuestLost


class Stub:
    """Answers each packet with the next of `answers`, and notes what came."""

    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.got: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in self.answers:
            packet = await reader.readuntil(b"#") + await reader.readexactly(2)
            body = packet[packet.index(b"$") + 1 : -3]
            assert int(packet[-2:], 16) == sum(body) % 256
            self.got.append(body)
            writer.write(answer)
            await writer.drain()
        writer.close()


def packet(body: bytes) -> bytes:
    return b"+$%s#%02x" % (body, sum(body) % 256)


async def session(path: Path, stub: Stub) -> str:
    server = await asyncio.start_unix_server(stub.serve, str(path))
    async with server:
        gdb = await GdbStub.connect(path)
        await gdb.set_breakpoint(0x23A898, 2)
        await gdb.resume()
        stopped = await gdb.wait_stopped()
        await gdb.close()
        return stopped


def test_breakpoint_resume_stop(tmp_path: Path) -> None:
    stub = Stub([packet(b"OK"), b"+" + packet(b"T05thread:02;")])
    assert asyncio.run(session(tmp_path / "gdb", stub)) == "T05thread:02;"
    assert stub.got == [b"Z1,23a898,2", b"c"]


def test_console_output_packets_before_the_stop_are_passed_over(tmp_path: Path) -> None:
    stub = Stub([packet(b"OK"), packet(b"O68690a") + packet(b"S05")])
    assert asyncio.run(session(tmp_path / "gdb", stub)) == "S05"


def test_a_stop_that_comes_late_is_no_answer(tmp_path: Path) -> None:
    """A guest that powered off was written to before the stub had said that it stopped."""
    late = packet(b"T03thread:01;") + packet(b"OK")
    stub = Stub([late, packet(b"T05thread:02;")])
    assert asyncio.run(session(tmp_path / "gdb", stub)) == "T05thread:02;"


@pytest.mark.parametrize("answer", [packet(b""), packet(b"E22"), b""])
def test_a_refusal_or_a_hang_up_is_a_lost_guest(tmp_path: Path, answer: bytes) -> None:
    with pytest.raises(GuestLost, match="gdbstub"):
        asyncio.run(session(tmp_path / "gdb", Stub([answer])))


def test_after_a_hang_up_every_command_is_a_lost_guest(tmp_path: Path) -> None:
    """The system's own words for it change from one write to the next: reset, then broken pipe."""

    async def go() -> None:
        path = tmp_path / "gdb"
        async with await asyncio.start_unix_server(Stub([packet(b"OK")]).serve, str(path)):
            gdb = await GdbStub.connect(path)
            await gdb.set_breakpoint(0x23A898, 2)
            for _ in range(5):
                with pytest.raises(GuestLost, match="hung up"):
                    await gdb.resume()
                    await gdb.wait_stopped()
                with pytest.raises(GuestLost, match="hung up"):
                    await gdb.clear_breakpoint(0x23A898, 2)
            await gdb.close()

    asyncio.run(go())


def _read(path: Path, answer: bytes) -> bytes:
    async def go() -> bytes:
        async with await asyncio.start_unix_server(Stub([answer]).serve, str(path)):
            gdb = await GdbStub.connect(path)
            return await gdb.read(0xFF00, 4)

    return asyncio.run(go())


def test_memory_is_read(tmp_path: Path) -> None:
    assert _read(tmp_path / "gdb", packet(b"0001fe7f")) == b"\x00\x01\xfe\x7f"


@pytest.mark.parametrize("answer", [b"E14", b"0001", b"", b"not hex!"])
def test_memory_that_is_not_mapped_is_a_lost_guest(tmp_path: Path, answer: bytes) -> None:
    with pytest.raises(GuestLost, match="refuses 'mff00,4'"):
        _read(tmp_path / "gdb", packet(answer))
