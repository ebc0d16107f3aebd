"""QEMU's command line, and what is said when QEMU cannot start."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import shlex
import sys
from pathlib import Path
from typing import cast

import pytest
from qemu.qmp import QMPClient

from tests.unit.vm.builders import config, needs_qemu
from vm import monitor
from vm.monitor import dump, dump_through
from vm.qemu import GuestConfig, command_line, running
from zaptrace.arch import ARCHES, arch_named
from zaptrace.model.errors import BadInput, GuestLost, Missing


def enter(some: GuestConfig, folder: Path) -> None:
    async def go() -> None:
        async with running(some, folder / "qemu.log"):
            pass

    asyncio.run(go())


def test_commas_in_paths_do_not_split_options(tmp_path: Path) -> None:
    argv = command_line(config(tmp_path), tmp_path)
    assert f"file,id=console,path={tmp_path}/a,,b.log" in argv


def test_the_command_for_a_person_has_no_sockets(tmp_path: Path) -> None:
    argv = command_line(config(tmp_path))
    assert "-S" not in argv
    assert "-qmp" not in argv
    assert argv[0] == "qemu-system-s390x"


@pytest.mark.parametrize(
    ("arch", "accelerator", "version", "argument"),
    [
        ("x86_64", "tcg", "7.2.22 (Debian 1:7.2+dfsg-7)", "tcg,thread=single"),
        ("x86_64", "tcg", "8.0.4", "tcg,thread=single"),
        ("x86_64", "tcg", "8.1.0", "tcg"),
        ("x86_64", "tcg", "10.0.2", "tcg"),
        ("x86_64", "kvm", "7.2.22", "kvm"),
        ("s390x", "tcg", "7.2.22", "tcg"),
    ],
)
def test_cpus_take_turns_where_they_could_miss_what_others_patch(
    arch: str, accelerator: str, version: str, argument: str, tmp_path: Path
) -> None:
    emulator = tmp_path / "qemu"
    emulator.write_text(f"#!/bin/sh\necho QEMU emulator version {shlex.quote(version)}\n")
    emulator.chmod(0o700)
    row = dataclasses.replace(ARCHES[arch], qemu=str(emulator))
    argv = command_line(dataclasses.replace(config(tmp_path), arch=row, accel=accelerator))
    assert argv[argv.index("-accel") + 1] == argument


@needs_qemu
def test_a_guest_without_a_deadline_of_its_own_meets_ours(tmp_path: Path) -> None:
    async def go() -> str:
        async with running(config(tmp_path), tmp_path / "qemu.log") as guest:
            return await guest.run_until((), 0.3)

    assert asyncio.run(go()) in ("timeout", "panic")


@needs_qemu
def test_a_guest_whose_qemu_is_dead_is_lost_whatever_is_asked_of_it(tmp_path: Path) -> None:
    async def go() -> None:
        async with running(config(tmp_path), tmp_path / "qemu.log") as guest:
            guest._process.kill()
            await guest._process.wait()
            for _ in range(3):
                with pytest.raises(GuestLost):
                    await guest.run_until((), 5)
                with pytest.raises(GuestLost):
                    await guest.run_until((0x1000,), 5)
                with pytest.raises(GuestLost):
                    await guest.clear_breakpoint(0x1000)
                with pytest.raises(GuestLost):
                    await guest.pause()
                with pytest.raises(GuestLost):
                    await guest.dump(tmp_path / "dump")

    asyncio.run(go())


@needs_qemu
def test_an_interrupt_while_a_guest_is_ended_leaves_nothing_unheard(tmp_path: Path) -> None:
    """However often it comes: QEMU is gone, and no library's task ends with a traceback."""
    gc.freeze()  # a second and more of what other tests have left
    unheard: list[dict[str, object]] = []
    ended: list[int] = []

    async def use(begun: asyncio.Event) -> None:
        async with running(config(tmp_path), tmp_path / "qemu.log") as guest:
            ended.append(guest._process.pid)
            begun.set()

    async def go() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: unheard.append(told))
        begun = asyncio.Event()
        task = asyncio.create_task(use(begun))
        await begun.wait()
        turns = 0
        while not task.done():  # at each turn of the loop; while QEMU ends, each millisecond
            task.cancel()
            await asyncio.sleep(0 if turns < 1000 else 0.001)
            turns += 1
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not Path(f"/proc/{ended[0]}").exists()

    asyncio.run(go())
    gc.collect()
    assert unheard == []


@needs_qemu
def test_qemus_own_words_are_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"QEMU refuses such a guest: .*many"):
        enter(config(tmp_path, memory="many"), tmp_path)


def test_a_kernel_that_is_not_there(tmp_path: Path) -> None:
    some = config(tmp_path)
    some.kernel.unlink()
    with pytest.raises((BadInput, Missing), match="not"):
        enter(some, tmp_path)


def test_a_missing_emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="qemu-system-s390x is not installed"):
        enter(config(tmp_path), tmp_path)


def test_a_socket_without_a_listener(tmp_path: Path) -> None:
    with pytest.raises(GuestLost, match="no monitor answers"):
        asyncio.run(dump_through(tmp_path / "qmp", tmp_path / "dump"))


def test_an_unknown_architecture_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BadInput) as caught:
        arch_named("vax")
    assert "s390x" in (caught.value.hint or "")


MUTE = """\
import re, socket, sys, time
ends = []
for place in re.findall(r"unix:([^,]+)", " ".join(sys.argv)):
    end = socket.socket(socket.AF_UNIX)
    end.bind(place)
    end.listen()
    ends.append(end)
time.sleep(60)
"""


def test_a_qemu_that_opens_its_sockets_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "CONNECT_SECONDS", 1.0)
    mute = tmp_path / "mute"
    mute.write_text(f"#!{sys.executable}\n{MUTE}")
    mute.chmod(0o755)
    some = config(tmp_path)
    some = dataclasses.replace(some, arch=dataclasses.replace(some.arch, qemu=str(mute)))

    async def go() -> None:
        async with asyncio.timeout(30), running(some, tmp_path / "qemu.log"):
            pass

    with pytest.raises(GuestLost, match="did not start"):
        asyncio.run(go())


class Stuck:
    """A monitor that begins to dump and hangs; it keeps the pipe open."""

    def __init__(self) -> None:
        self.pipe = -1

    async def execute(self, command: str, arguments: dict[str, str]) -> None:
        self.pipe = os.open(arguments["protocol"].removeprefix("file:"), os.O_WRONLY)
        os.write(self.pipe, b"x" * 100_000)
        await asyncio.sleep(60)


def test_a_dump_that_gets_stuck_has_a_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "DUMP_SECONDS", 0.5)
    stuck = Stuck()

    async def go() -> None:
        async with asyncio.timeout(20):
            await dump(cast(QMPClient, stuck), tmp_path / "dump")

    try:
        with pytest.raises(GuestLost, match="did not answer 'dump-guest-memory'"):
            asyncio.run(go())
    finally:
        os.close(stuck.pipe)


@needs_qemu
def test_only_we_may_enter_the_folder_of_the_sockets(tmp_path: Path) -> None:
    async def go() -> tuple[int, set[str]]:
        async with running(config(tmp_path), tmp_path / "qemu.log") as guest:
            folder = guest.socket("qmp").parent
            return folder.stat().st_mode & 0o777, {path.name for path in folder.iterdir()}

    assert asyncio.run(go()) == (0o700, {"qmp", "gdb"})
