"""QEMU's command line, and what is said when QEMU cannot start."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from vm.arch import ARCHES, arch_named
from vm.qemu import GuestConfig, command_line, dump_through, running
from zaptrace.model.errors import BadInput, GuestLost, Missing

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-s390x") is None, reason="QEMU is not installed: make setup"
)


def config(tmp_path: Path, memory: str = "64M") -> GuestConfig:
    kernel = tmp_path / "image,odd"
    kernel.write_bytes(b"\x07\xfe" * 4096)  # bcr 15,%r14: runs, and does nothing
    return GuestConfig(ARCHES["s390x"], kernel, None, "quiet", tmp_path / "a,b.log", memory, smp=1)


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
def test_qemus_own_words_are_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(GuestLost, match=r"QEMU did not start: .*many"):
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


def test_nobody_listens_at_a_socket(tmp_path: Path) -> None:
    with pytest.raises(GuestLost, match="no monitor answers"):
        asyncio.run(dump_through(tmp_path / "qmp", tmp_path / "dump"))


def test_an_unknown_architecture_is_told_the_known_ones() -> None:
    with pytest.raises(BadInput) as caught:
        arch_named("vax")
    assert "s390x" in (caught.value.hint or "")
