"""A live guest for tests: booted once, spoken to from plain functions."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import shlex
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tests.guest import postmortem
from vm import host, lab_kernel, live_guest
from vm.cpio import Archive
from vm.qemu import GuestConfig
from zaptrace.arch import Arch, arch_named
from zaptrace.kernel import plan_for
from zaptrace.model.errors import GuestLost, ZaptraceError
from zaptrace.model.paths import cache_home
from zaptrace.model.progress import ignore

PROGRAMS = Path(__file__).parent / "programs"
READY_SECONDS = 240.0
"""A busy machine emulates slowly: compiling for bcc took more than 90 s on one."""
T = TypeVar("T")


class Lab:
    """A live guest; its event loop has a thread of its own."""

    def __init__(
        self,
        request: live_guest.Request,
        guest: live_guest.LiveGuest,
        loop: asyncio.AbstractEventLoop,
        folder: Path,
    ) -> None:
        self.arch = request.arch.name
        self.boot_id = guest.found.boot_id
        self.restored = guest.found.restored
        self.console = folder / "console.log"
        self._vmlinux = request.kernel.vmlinux
        self._lost = folder / "lost"
        self._guest = guest
        self._loop = loop

    def run(self, command: str, seconds: float = 120.0) -> live_guest.Answer:
        """One line of shell in the guest; whatever its status.

        Raises:
            GuestLost: it does not answer; with what it was doing instead.
        """
        if self._lost.exists():
            raise GuestLost("the guest was lost before")
        try:
            return self.wait(self._guest.run(command, seconds), seconds + 10)
        except GuestLost as error:
            self._lost.touch()
            raise GuestLost(f"{error}\n{self._postmortem()}") from error

    def _postmortem(self) -> str:
        try:
            self.dump(self._lost)
        except ZaptraceError as error:
            return f"and it cannot be dumped: {error}"
        return postmortem.told(self._lost, self._vmlinux, self.console)

    def output(self, command: str, seconds: float = 120.0) -> str:
        """What a command that succeeds prints."""
        answer = self.run(command, seconds)
        assert answer.status == 0, f"{command}: {answer}"
        return answer.out

    def wait(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Do something in the guest's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def send(self, command: str) -> None:
        """Have the guest run a line of shell without waiting for its answer."""
        asyncio.run_coroutine_threadsafe(self._guest.run(command, 600), self._loop)

    def end(self, seconds: float) -> str:
        """Wait for the guest's end: "exit" or "panic"."""

        async def ended() -> str:
            return await asyncio.wait_for(asyncio.shield(self._guest.ended), seconds)

        return self.wait(ended(), seconds + 10)

    def dump(self, path: Path) -> None:
        """The guest's memory, as QEMU writes it."""
        self.wait(self._guest.guest.dump(path), 300)

    def damage(self, address: int, data: bytes) -> None:
        """Overwrite the guest's physical memory."""
        self.wait(self._guest.damage(address, data), 60)

    def open(self, channel: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The other end of a terminal."""
        return self.wait(self._guest.open(channel), 10)

    def until(self, command: str, seconds: float = READY_SECONDS) -> None:
        """Wait until a command succeeds."""
        deadline = time.monotonic() + seconds
        while self.run(command).status:
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {command}"
            time.sleep(0.2)

    def recorded(self, options: str, work: Callable[[], T]) -> tuple[Recording, T]:
        """What `zaptrace live` prints and records while some work is done."""
        self.output("rm -rf /run/live; mkdir /run/live")
        command = f"zaptrace live --json --record /run/live/capture {options}"
        self.output(
            f"{{ {command} >/run/live/lines 2>/run/live/errors; echo $? >/run/live/status; }} "
            "& echo $! >/run/live/pid"
        )
        # The recorder says what it watches when every probe is active.
        self.until("grep -q '\"sites\"' /run/live/capture || test -e /run/live/status")
        assert self.run("test -e /run/live/status").status, self.output("cat /run/live/errors")
        done = work()
        time.sleep(0.5)
        self.output("pkill -INT -x python3")
        self.until("test -e /run/live/status")
        return Recording(self), done


class Recording:
    """What a `zaptrace live` in the guest left."""

    def __init__(self, lab: Lab) -> None:
        self.errors = lab.output("cat /run/live/errors")
        self.status = int(lab.output("cat /run/live/status"))
        self.lines = _objects(lab.output("cat /run/live/lines"))
        self.replayed = _objects(lab.run("zaptrace replay /run/live/capture --json").out)


def _objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@contextlib.contextmanager
def booted(
    arch: str,
    folder: Path,
    *,
    append: str = "zapfault=none",
    shell: str = "",
    files: Iterable[Path] = (),
) -> Iterator[Lab]:
    """A live guest with the test programs, and more files, in /zaptrace/files."""
    row = arch_named(arch)
    built = lab_kernel.build(row, ignore)
    plan_for(built.vmlinux)
    request = live_guest.Request(
        row,
        built,
        cache_home() / "plans",
        append=append,
        shell=shell,
        files={path.name: path for path in files},
    )
    with running(request, folder) as guest:
        yield guest


@contextlib.contextmanager
def running(request: live_guest.Request, folder: Path) -> Iterator[Lab]:
    """A live guest as requested, with the test programs."""
    arch = request.arch.name
    programs = {path.stem: compiled(arch, path, folder) for path in sorted(PROGRAMS.glob("*.c"))}
    request = dataclasses.replace(request, files=programs | dict(request.files))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    context = live_guest.booted(request, folder)
    enter = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop)
    try:
        guest = enter.result(600)
        yield Lab(request, guest, loop, folder)
        if not guest.ended.done():
            with contextlib.suppress(GuestLost, TimeoutError):  # its tests have said so
                asyncio.run_coroutine_threadsafe(guest.learn_programs(), loop).result(70)
    finally:
        if not enter.exception():
            leave = asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop)
            leave.result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def compiled(arch: str, source: Path, folder: Path) -> Path:
    """A static program for the guest."""
    program = folder / f"{source.stem}-{arch}"
    compiler = f"{arch_named(arch).cross}gcc"
    host.output(compiler, "-static", "-O2", "-Wall", "-Wextra", "-o", str(program), str(source))
    return program


def initrd(init: Path, folder: Path, files: Mapping[str, Path] | None = None) -> Path:
    """A guest's whole root file system: a program as init, and files by their paths there."""
    archive = Archive()
    archive.character_device("/dev/console", 5, 1)
    archive.file("/init", init.read_bytes(), 0o755)
    for name, file in (files or {}).items():
        archive.file(name, file.read_bytes())
    path = folder / "initrd"
    path.write_bytes(archive.finish())
    return path


def config_of(
    arch: Arch, kernel: lab_kernel.Kernel, source: Path, folder: Path, words: str = "", **more: Any
) -> GuestConfig:
    """A guest whose init is a test program; its files are in `folder`.

    Args:
        source: the program's C source.
        words: more kernel arguments.
        more: what differs from GuestConfig's defaults, and `files` for `initrd`.
    """
    files = more.pop("files", None)
    return GuestConfig(
        arch=arch,
        kernel=kernel.image,
        initrd=initrd(compiled(arch.name, source, folder), folder, files),
        append=f"{arch.append} nokaslr {words}".rstrip(),
        **{"console": folder / "console.log", **more},
    )


def quoted(*words: str) -> str:
    """A command line for the guest's shell."""
    return shlex.join(words)


def guests_of(folder: Path) -> list[str]:
    """QEMU processes that have a folder's files on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:
            continue  # it has just ended
        if b"qemu-system" in words and str(folder).encode() in words:
            found.append(str(entry))
    return found
