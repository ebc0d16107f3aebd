"""Live guests: a Debian with this checkout inside, that takes commands while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vm import bpf_programs, initramfs, payload, rootfs
from vm.lab_kernel import Kernel
from vm.qemu import Guest, GuestConfig
from vm.stock import StockKernel
from vm.waiting import Waiting, waiting
from zaptrace.arch import Arch
from zaptrace.model import boot_ids
from zaptrace.model.errors import GuestLost
from zaptrace.model.paths import scratch_folder
from zaptrace.model.progress import Listener, ignore, step

AGENT = "zaptrace.agent"
STREAM = "zaptrace.stream"
"""The port that a capture comes out of."""
CHECKOUT = "checkout"
"""The disk that is mounted when the guest begins, restored or not."""
BEGIN_SECONDS = 120.0
MAX_ANSWER = 64 << 20


@dataclass(frozen=True, slots=True)
class Request:
    """What live guest to boot.

    Attributes:
        kernel: a lab kernel, or a stock one.
        plans: the folder of probe plans that the guest gets.
        shell: the terminal to start a shell on ("hvc0", "ttyS0"), or "".
        append: more kernel arguments ("zapfault=batch").
        files: name -> a file that goes to the guest's /zaptrace/files.
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
    """A guest in user space that answers.  Made by `booted()`.

    Attributes:
        found: how it came to be: booted, or restored from which boot.
    """

    def __init__(
        self,
        found: Waiting,
        request: Request,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.guest = found.guest
        self.ended = found.ended
        """Done when the guest has powered off or panicked ("exit", "panic")."""
        self.found = found
        self._request = request
        self._reader = reader
        self._writer = writer

    async def begin(self) -> None:
        """Give it what it must not share with another one that was restored from the same state.

        Raises:
            GuestLost: it does not answer.
        """
        restored, boot_id = self.found.restored, self.found.boot_id
        given = {
            "clock": time.time_ns(),
            "seed": secrets.token_hex(32),
            "note": boot_ids.note(boot_id, restored) if restored else "",
            "shell": self._request.shell,
            "programs": bpf_programs.known(self._request.kernel),
        }
        answer = await self.run(f"begin {json.dumps(given)}", BEGIN_SECONDS)
        if answer.status:
            raise GuestLost(f"the guest does not begin: {answer.err[-200:]}")

    async def learn_programs(self) -> None:
        """Keep the BPF programs that it has compiled, for the next ones.

        Raises:
            GuestLost: it does not answer.
        """
        answer = await self.run(bpf_programs.COMMAND)
        bpf_programs.learn(self._request.kernel, answer.out)

    async def forget(self) -> None:
        """Let go of the task that waits for its end; it is another one after `damage`."""
        self.ended.cancel()
        await asyncio.gather(self.ended, return_exceptions=True)

    async def run(self, command: str, seconds: float = 60.0) -> Answer:
        """Run one line of shell as root, one at a time.

        Raises:
            ValueError: it has several lines.
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
        """Return the other end of a port, of "hvc0" or of the serial "console".

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
    """Boot a live guest until it has reached user space; end it when the block is left.

    It is restored from the cache (`vm.waiting`), after the first one of its kind.

    Args:
        folder: for its console log (`console.log`) and QEMU's words (`qemu.log`).

    Raises:
        Missing, CannotTell: its root cannot be made.
        GuestLost: it did not reach user space.
    """
    root = rootfs.build(request.arch, listener, timing)
    with scratch_folder() as scratch:
        with step("payload", "Pack the checkout for the guest", listener, timing):
            disk = scratch / "payload.img"
            payload.kept(request.plans, request.files, disk)
        config = _config(request, root, disk, folder / "console.log")
        async with contextlib.AsyncExitStack() as stack:
            with step("boot", f"Boot under {config.accel}", listener, timing) as current:
                found = await waiting(config, folder / "qemu.log", CHECKOUT, stack)
                reader, writer = await _opened(found.guest, AGENT)
                stack.callback(writer.close)
                live = LiveGuest(found, request, reader, writer)
                stack.push_async_callback(live.forget)
                await live.begin()
                current.note = "user space, restored" if found.restored else "user space"
            yield live


async def _opened(guest: Guest, channel: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_unix_connection(str(guest.socket(channel)))
    except OSError as error:
        raise GuestLost(f"the guest cannot be spoken to any more: {error.strerror}") from error


def _config(request: Request, root: Path, disk: Path, console: Path) -> GuestConfig:
    modules = request.kernel.modules if isinstance(request.kernel, StockKernel) else ()
    root_disk = "zaptrace.root=ro" if request.read_only else ""
    words = (request.arch.append, root_disk, request.append)
    return GuestConfig(
        arch=request.arch,
        kernel=request.kernel.image,
        initrd=initramfs.build_live(request.arch, modules),
        append=" ".join(word for word in words if word),
        console=console,
        memory=request.memory,
        smp=request.smp,
        accel=request.accel,
        disks={"root": root, CHECKOUT: disk},
        ports=(AGENT, STREAM),
    )
