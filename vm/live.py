"""Live guests: a Debian with this checkout inside, that takes commands while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vm import initramfs, payload, rootfs
from vm.arch import Arch
from vm.console import last_line
from vm.kernel import Kernel
from vm.qemu import Guest, GuestConfig, running
from vm.stock import StockKernel
from zaptrace.model.errors import GuestLost
from zaptrace.model.progress import Listener, ignore, step

AGENT = "zaptrace.agent"
STREAM = "zaptrace.stream"
"""The port that a capture comes out of."""
READY = b"zaptrace: user space on"
BOOT_SECONDS = 240.0
MAX_ANSWER = 64 << 20
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Request:
    """What live guest to boot.

    Attributes:
        kernel: a lab kernel, or a stock one.
        plans: the folder of probe plans that the guest shall find.
        shell: the terminal to start a shell on ("hvc0", "ttyS0"), or "".
        append: more kernel arguments ("zapfault=batch").
        files: name -> a file that shall lie in the guest's /zaptrace/files.
        read_only: nothing is written to its disks, for kernels that cannot.
    """

    arch: Arch
    kernel: Kernel
    plans: Path
    shell: str = ""
    append: str = ""
    memory: str = "1G"
    smp: int = 2
    accel: str = "tcg"
    files: Mapping[str, Path] = field(default_factory=dict)
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command in the guest did."""

    status: int
    out: str
    err: str


class LiveGuest:
    """A guest in user space that answers.  Made by `booted()`."""

    def __init__(
        self,
        guest: Guest,
        ended: asyncio.Task[str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.guest = guest
        self.ended = ended
        """Done when the guest has powered off or panicked ("exit", "panic")."""
        self._reader = reader
        self._writer = writer

    async def run(self, command: str, seconds: float = 60.0) -> Answer:
        """Run one line of shell as root, one at a time.

        Raises:
            GuestLost: no answer in time, or nonsense: it cannot be talked to any more.
        """
        if "\n" in command:
            raise ValueError("a command is one line")
        self._writer.write(command.encode() + b"\n")
        try:
            return await asyncio.wait_for(self._answer(), seconds)
        except TimeoutError:
            raise GuestLost(f"no answer in {seconds:g} s to: {command[:60]}") from None
        except (ValueError, OSError, asyncio.IncompleteReadError) as error:
            raise GuestLost(f"the guest does not answer: {error}") from error

    async def _answer(self) -> Answer:
        line = await self._reader.readline()
        if not line:
            raise ValueError("it has hung up")
        status, *sizes = (int(word) for word in line.split())
        out_size, err_size = sizes
        if not 0 <= out_size + err_size <= MAX_ANSWER:
            raise ValueError(f"an answer of {out_size + err_size} bytes")
        out = await self._reader.readexactly(out_size)
        err = await self._reader.readexactly(err_size)
        return Answer(status, out.decode(errors="replace"), err.decode(errors="replace"))

    async def damage(self, address: int, data: bytes) -> None:
        """Overwrite its memory, by physical address, while it is stopped for a moment.

        Raises:
            GuestLost: it has ended, or QEMU refuses.
        """
        await self.guest.pause()
        how = await self.ended
        if how != "breakpoint":
            raise GuestLost(f"the guest has ended ({how})")
        await self.guest.write_physical(address, data)
        self.ended = asyncio.create_task(self.guest.run_until((), float("inf")))

    async def open(self, channel: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The other end of a port, of "hvc0" or of the serial "console".

        Raises:
            GuestLost: QEMU has ended.
        """
        return await _opened(self.guest, channel)


@contextlib.asynccontextmanager
async def booted(
    request: Request,
    folder: Path,
    listener: Listener = ignore,
    timing: dict[str, float] | None = None,
) -> AsyncIterator[LiveGuest]:
    """A live guest that has reached user space; gone when the block is left.

    Args:
        folder: for its console log (`console.log`) and QEMU's words (`qemu.log`).

    Raises:
        Missing, CannotTell: its root cannot be made.
        GuestLost: it did not reach user space.
    """
    root = rootfs.build(request.arch, listener, timing)
    with tempfile.TemporaryDirectory(prefix="zaptrace-") as scratch:
        with step("payload", "Pack the checkout for the guest", listener, timing):
            disk = Path(scratch) / "payload.img"
            payload.make(disk, request.plans, request.files)
        config = _config(request, root, disk, folder / "console.log")
        async with running(config, folder / "qemu.log") as guest:
            end = asyncio.create_task(guest.run_until((), float("inf")))
            live = None
            try:
                with step("boot", f"Boot under {config.accel}", listener, timing) as current:
                    await _user_space(config.console, end)
                    current.note = "user space"
                reader, writer = await _opened(guest, AGENT)
                live = LiveGuest(guest, end, reader, writer)
                yield live
                writer.close()
            finally:
                end = live.ended if live is not None else end
                end.cancel()
                await asyncio.gather(end, return_exceptions=True)


async def _opened(guest: Guest, channel: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_unix_connection(str(guest.socket(channel)))
    except OSError as error:
        raise GuestLost(f"the guest cannot be spoken to any more: {error.strerror}") from error


def _config(request: Request, root: Path, disk: Path, console: Path) -> GuestConfig:
    shell = f"zaptrace.shell={request.shell}" if request.shell else ""
    modules = request.kernel.modules if isinstance(request.kernel, StockKernel) else ()
    root_disk = "zaptrace.root=ro" if request.read_only else ""
    words = (request.arch.append, shell, root_disk, request.append)
    return GuestConfig(
        arch=request.arch,
        kernel=request.kernel.image,
        initrd=initramfs.build_live(request.arch, modules),
        append=" ".join(word for word in words if word),
        console=console,
        memory=request.memory,
        smp=request.smp,
        accel=request.accel,
        disks={"root": root, "checkout": disk},
        ports=(AGENT, STREAM),
    )


async def _user_space(console: Path, end: asyncio.Task[str]) -> None:
    """Wait until the guest's init has said that it is there."""
    deadline = asyncio.get_running_loop().time() + BOOT_SECONDS
    while READY not in (console.read_bytes() if console.exists() else b""):
        if end.done() or asyncio.get_running_loop().time() > deadline:
            how = end.result() if end.done() else f"silent for {BOOT_SECONDS:g} s"
            raise GuestLost(
                f"the live guest did not reach user space ({how}); its console ends with: "
                f"{last_line(console) or '(nothing)'}"
            )
        await asyncio.sleep(_LOOK_SECONDS)
