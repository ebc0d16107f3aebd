"""One QEMU process: started stopped, watched through QMP and the gdbstub, ended for sure.

The guest never outlives us: `setpriv --pdeathsig KILL` ties QEMU to the thread
that started it.  The sockets lie in a folder of their own that only we may
enter (0700).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from qemu.qmp import QMPClient
from qemu.qmp.error import QMPError

from vm import host, migration, monitor, relocation
from vm.gdbstub import GdbStub
from vm.migration import execute
from vm.plugin import Plugin
from zaptrace.arch import Arch
from zaptrace.model.errors import BadInput, GuestLost, Missing
from zaptrace.model.paths import scratch_folder

SEES_PATCHED_CODE = (8, 1)
"""The first QEMU whose emulated CPUs never continue with code that another one has just changed
("accel/tcg: Always lock pages before translation").  With those before, a CPU can be left at the
int3 of a kprobe that is gone, for ever: 1 of 2 guests that switched kprobes on and off hung
within 4 minutes."""

_PROGRAM_COUNTER = re.compile(r"(?:\bRIP=|\baddr )([0-9a-f]{16})\b")
"""As QEMU's monitor prints it: x86_64's `RIP=`, s390x's `PSW=mask ... addr ...`."""


@dataclass(frozen=True, slots=True)
class GuestConfig:
    """What to boot.

    Attributes:
        kernel: a bootable image.
        initrd: a cpio archive (with bootconfig after it), or None.
        append: the kernel's command line.
        memory: as QEMU's `-m` takes it ("512M").
        smp: how many CPUs.
        cpu: model and features, as QEMU's `-cpu` takes them; "" for its own choice.
        console: the file that receives the serial console.
        disks: serial -> image; what the guest writes there is forgotten.
        ports: names of virtio ports (/dev/virtio-ports/NAME in the guest).  With
            any, the guest also has a terminal, hvc0, and its serial console takes input.
        plugin: what records its stores; for "tcg" only.
    """

    arch: Arch
    kernel: Path
    initrd: Path | None
    append: str
    console: Path
    memory: str = "512M"
    smp: int = 2
    accel: str = "tcg"
    cpu: str = ""
    disks: Mapping[str, Path] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    plugin: Plugin | None = None


def command_line(
    config: GuestConfig, sockets: Path | None = None, state: int | None = None
) -> list[str]:
    """Return QEMU's argv; without `sockets`, what a person would type to boot the same guest.

    Args:
        state: a descriptor of what `Guest.save` wrote, to continue from there.
    """
    argv = [config.arch.qemu, *config.arch.machine, "-accel", _accelerator(config), "-nodefaults"]
    argv += ["-display", "none", "-m", config.memory, "-smp", str(config.smp)]
    argv += ["-cpu", config.cpu] if config.cpu else []
    argv += ["-kernel", str(config.kernel)]
    if config.initrd is not None:
        argv += ["-initrd", str(config.initrd)]
    argv += ["-append", config.append]
    for serial, disk in config.disks.items():
        backend = f"if=none,id={serial},format=raw,snapshot=on,file={_escaped(disk)}"
        argv += ["-drive", backend]
        argv += ["-device", f"virtio-blk-{config.arch.virtio},drive={serial},serial={serial}"]
    if sockets is None:
        return [*argv, "-chardev", "stdio,id=console", *config.arch.console]
    if config.plugin is not None:
        argv += ["-plugin", config.plugin.argument(config.memory)]
    argv += _channels(config, sockets, "" if state is None else ",logappend=on")
    argv += ["-action", "panic=pause,shutdown=pause,reboot=shutdown"]
    argv += ["-qmp", f"unix:{_escaped(sockets / 'qmp')},server=on,wait=off"]
    argv += ["-incoming", f"fd:{state}"] if state is not None else []
    return [*argv, "-S", "-gdb", f"unix:{_escaped(sockets / 'gdb')},server=on,wait=off"]


def _accelerator(config: GuestConfig) -> str:
    """Return QEMU's `-accel`: emulated CPUs take turns where they could miss what others patch."""
    if config.accel != "tcg" or not config.arch.patches_running_code:
        return config.accel
    return "tcg" if version_of(config.arch.qemu) >= SEES_PATCHED_CODE else "tcg,thread=single"


@functools.cache
def version_of(qemu: str) -> tuple[int, ...]:
    """Return an emulator's version, (8, 1); the newest where it is not installed or silent."""
    said = host.run(qemu, "--version").stdout if shutil.which(qemu) else b""
    found = re.search(rb"version (\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else SEES_PATCHED_CODE


def _channels(config: GuestConfig, sockets: Path, append: str) -> list[str]:
    """Return the serial console, and what else a guest talks to us through.

    Args:
        append: what has the console's log continue after what is there.
    """
    log = _escaped(config.console)
    if not config.ports:
        on = ",append=on" if append else ""
        return ["-chardev", f"file,id=console,path={log}{on}", *config.arch.console]

    def chardev(name: str, more: str = "") -> list[str]:
        place = _escaped(sockets / name)
        return ["-chardev", f"socket,id={name},path={place},server=on,wait=off{more}"]

    argv = [*chardev("console", f",logfile={log}{append}"), *config.arch.console]
    argv += ["-device", f"virtio-serial-{config.arch.virtio}"]
    argv += [*chardev("hvc0"), "-device", "virtconsole,chardev=hvc0"]
    for name in config.ports:
        argv += [*chardev(name), "-device", f"virtserialport,chardev={name},name={name}"]
    return argv


def _escaped(path: Path) -> str:
    return str(path).replace(",", ",,")


class Guest:
    """A running QEMU.  Made by `running()`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        qmp: QMPClient,
        gdb: GdbStub,
        config: GuestConfig,
        sockets: Path,
    ) -> None:
        self.config = config
        self.gdb = gdb
        self._sockets = sockets
        self._process = process
        self._qmp = qmp

    async def run_until(
        self,
        stop_at: Sequence[int],
        seconds: float,
        also: asyncio.Task[None] | None = None,
    ) -> str:
        """Run the guest until something ends it.

        Args:
            stop_at: kernel addresses; the guest stops before executing one.
            seconds: the deadline.
            also: stop the guest when this task is done, too.

        Returns:
            "breakpoint", "panic", "exit" (the guest powered off or rebooted) or
            "timeout" (of `also` too).  The guest is stopped then, and can be dumped.

        Raises:
            GuestLost: QEMU died, or its monitor no longer answers.
        """
        for address in stop_at:
            await self.gdb.set_breakpoint(address, self.config.arch.gdb_instruction)
        stopped = asyncio.create_task(self.gdb.wait_stopped())
        ended = asyncio.create_task(self._event())
        died = asyncio.create_task(self._process.wait())
        tasks: set[asyncio.Task[str] | asyncio.Task[int]] = {stopped, ended, died}
        watched: set[asyncio.Task[Any]] = {*tasks, *([also] if also else [])}
        try:
            await self.gdb.resume()
            await asyncio.wait(watched, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return await self._why(stopped, ended, died)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _why(
        self,
        stopped: asyncio.Task[str],
        ended: asyncio.Task[str],
        died: asyncio.Task[int],
    ) -> str:
        if stopped.done() and stopped.exception():  # hung up: most likely on its way out
            await asyncio.wait({died}, timeout=1.0)
        if died.done():
            raise GuestLost(f"QEMU ended by itself with status {died.result()}")
        # A power-off and a panic stop the CPUs too: ask the monitor first.
        if not ended.done() and stopped.done():
            await asyncio.wait({ended}, timeout=0.05)
        if ended.done():
            return ended.result()
        if stopped.done():
            stopped.result()
            return "breakpoint"
        await self._stop()
        # The stub reports this stop too, which must not be read as the answer to a command.
        await asyncio.wait({stopped}, timeout=1.0)
        return "timeout"

    async def _event(self) -> str:
        """Wait for the monitor's news of a power-off, a reboot or a panic."""
        while True:
            event = await self._qmp.events.get()
            if event["event"] == "GUEST_PANICKED":
                return "panic"
            if event["event"] in ("SHUTDOWN", "RESET"):
                return "exit"

    async def clear_breakpoint(self, address: int) -> None:
        """Take back a stop of `run_until`.

        Raises:
            GuestLost: the stub refuses or is gone.
        """
        await self.gdb.clear_breakpoint(address, self.config.arch.gdb_instruction)

    async def read(self, address: int, size: int) -> bytes:
        """Read the stopped guest's memory, by a kernel address.

        Raises:
            GuestLost: nothing is mapped there, or the stub is gone.
        """
        return await self.gdb.read(address, size)

    async def write(self, address: int, data: bytes) -> None:
        """Overwrite the stopped guest's memory, by a kernel address.

        Raises:
            GuestLost: nothing is mapped there, or the stub is gone.
        """
        await self.gdb.write(address, data)

    async def kernel_offset(self, anchors: relocation.Anchors) -> int | None:
        """Return how far above its link-time addresses the kernel runs; None when that is not to be
        seen now.  The guest may be running.

        Raises:
            GuestLost: the monitor does not answer.
        """
        return await relocation.offset(self._monitor, self.config.arch, anchors)

    async def standing_at(self, addresses: Sequence[int]) -> int | None:
        """Return the first of some addresses that a CPU of the stopped guest is to execute next.

        Raises:
            GuestLost: the monitor does not answer.
        """
        said = await self._monitor("info registers -a")
        counters = {int(one, 16) for one in _PROGRAM_COUNTER.findall(said)}
        return next((address for address in addresses if address in counters), None)

    async def _monitor(self, command: str) -> str:
        arguments: dict[str, object] = {"command-line": command}
        return str(await execute(self._qmp, "human-monitor-command", arguments))

    async def pause(self) -> None:
        """Stop the guest; the caller waits in `run_until` is reported "breakpoint".

        Raises:
            GuestLost: the monitor does not answer.
        """
        await self._stop()

    async def write_physical(self, address: int, data: bytes) -> None:
        """Overwrite the stopped guest's memory: how a fault is put into any kernel.

        Raises:
            GuestLost: the stub refuses or is gone.
        """
        await self.gdb.write_physical(address, data)

    def socket(self, name: str) -> Path:
        """Return where the other end of a port, of "hvc0" or of the serial "console" is (unix
        socket)."""
        return self._sockets / name

    async def dump(self, path: Path) -> None:
        """Write the guest's memory and registers as an ELF file (0600).

        Raises:
            GuestLost: QEMU could not.
            OSError: the file cannot be written (a full disk).
        """
        await monitor.dump(self._qmp, path)

    async def save(self, file: BinaryIO) -> str:
        """Write the stopped guest's whole state; it does not continue from here.

        Returns:
            The SHA-256 of what was written.

        Raises:
            GuestLost: QEMU could not, or the guest has written to a disk, which is no part of it.
            OSError: the file cannot be written.
        """
        return await migration.save(self._qmp, self._sockets / "state", file)

    async def _stop(self) -> None:
        await execute(self._qmp, "stop")


@contextlib.asynccontextmanager
async def running(config: GuestConfig, log: Path, state: int | None = None) -> AsyncIterator[Guest]:
    """Start a guest, stopped; kill it on the way out.

    Must be entered from a thread that lives as long as the guest.

    Args:
        log: the file that receives QEMU's own words.
        state: a descriptor of what `Guest.save` wrote of such a guest, to continue from there.

    Raises:
        Missing: the emulator is not installed.
        BadInput: QEMU refuses such a guest, or such a state.
        GuestLost: QEMU died or was stuck before its sockets answered.
    """
    for program in (config.arch.qemu, "setpriv"):
        if shutil.which(program) is None:
            raise Missing(f"{program} is not installed", "make setup")
    for file in (config.kernel, config.initrd):
        if file is not None and not file.is_file():
            raise BadInput(f"{file} is not a file")
    log.touch(mode=0o600)
    with scratch_folder() as sockets, log.open("wb") as words:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", *command_line(config, sockets, state)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            umask=0o077,
            pass_fds=[*([config.plugin.shared] if config.plugin else []), *_given(state)],
            start_new_session=True,  # Ctrl-C is ours to handle, not QEMU's
        )
        qmp = QMPClient("zaptrace")
        try:
            gdb = await _connect(process, qmp, sockets, log)
            try:
                if state is not None:
                    await _arrived(process, qmp, log)
                yield Guest(process, qmp, gdb, config, sockets)
            finally:
                await gdb.close()
        finally:
            await monitor.whole(_end(process, qmp))


async def _end(process: asyncio.subprocess.Process, qmp: QMPClient) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    await monitor.hang_up(qmp)


async def _connect(
    process: asyncio.subprocess.Process, qmp: QMPClient, sockets: Path, log: Path
) -> GdbStub:
    """Connect the monitor and the gdbstub as soon as their sockets are there."""
    # It has ended in between, or (TimeoutError is an OSError) it is stuck.
    with contextlib.suppress(QMPError, OSError):
        async with asyncio.timeout(monitor.CONNECT_SECONDS):
            while process.returncode is None:
                if (sockets / "qmp").exists() and (sockets / "gdb").exists():
                    await qmp.connect(str(sockets / "qmp"))
                    return await GdbStub.connect(sockets / "gdb")
                await asyncio.sleep(0.01)
    raise _refusal(process, log)


def _given(state: int | None) -> list[int]:
    return [] if state is None else [state]


async def _arrived(process: asyncio.subprocess.Process, qmp: QMPClient, log: Path) -> None:
    """Wait until a saved state is loaded."""
    loading = asyncio.create_task(migration.arrived(qmp))
    died = asyncio.create_task(process.wait())
    try:
        await asyncio.wait({loading, died}, return_when=asyncio.FIRST_COMPLETED)
        if died.done():
            raise _refusal(process, log)
        loading.result()
    finally:
        for task in (loading, died):
            task.cancel()
        await asyncio.gather(loading, died, return_exceptions=True)


def _refusal(process: asyncio.subprocess.Process, log: Path) -> BadInput | GuestLost:
    """Return why QEMU did not start."""
    words = log.read_text(errors="replace").strip().splitlines()
    why = words[0] if words else "no word from it"
    if (process.returncode or 0) > 0:  # its own exit, of its arguments: as in every other boot
        return BadInput(f"QEMU refuses such a guest: {why}")
    return GuestLost(f"QEMU did not start: {why}")
