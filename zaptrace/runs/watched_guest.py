"""Watching a live guest from outside: boot it, let it record, read its stream."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from vm import accel, kernel_tree, lab_kernel, live_guest, stock
from vm.qemu import GuestConfig
from vm.serial_console import last_line
from zaptrace.arch import arch_named
from zaptrace.capture.stream import StreamSource
from zaptrace.kernel import plan_for
from zaptrace.model import boot_ids
from zaptrace.model.errors import BadInput, CannotTell, GuestLost
from zaptrace.model.events import ABSENT, Events
from zaptrace.model.paths import cache_home, scratch_folder
from zaptrace.model.progress import Listener, step
from zaptrace.model.source import Source
from zaptrace.runs.asyncio_run import run_to_end

STATUS = "/run/recorder"
"""Where the guest leaves the recorder's exit status and last words."""
DONE = "/run/done"
"""Where it leaves its uptime when the command that was to be run has ended."""
LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 300.0
"""How long a guest may owe an answer: it is busy with more than us, and it may be emulated
twice.  One that has died is noticed at once."""
DRAIN_SECONDS = 10.0
"""How long events may at most be on their way when the command in the guest has ended."""
HUNG_UP_SECONDS = 2.0
"""How long QEMU may take to end when the guest does not answer any more."""
GONE_SECONDS = 5.0
"""How much later than the stream's end its cause may be known."""
_ENDS = {"panic": "has panicked", "exit": "has powered off or rebooted"}
_CLOCK_NS = 20_000_000  # /proc/uptime counts hundredths of a second


@dataclass(frozen=True, slots=True)
class WatchedGuest:
    """A guest that records.

    Attributes:
        source: its events; whatever it sends is hostile input.
        console: its serial console so far.
        finished: whether the command that was to be run in it has ended, and the
            events that it caused have had the time to come.
    """

    source: Source
    console: Callable[[], str]
    finished: Callable[[], bool]


def wanted_guest(
    name: str,
    listener: Listener,
    *,
    kernel_name: str | None = None,
    own: kernel_tree.Tree | None = None,
    fault: str = "none",
    shell: str = "",
    smp: int = 2,
    read_only: bool = False,
) -> live_guest.Request:
    """Return a live guest with the lab's kernel, a stock one, or one of the user's.

    Args:
        kernel_name: of a stock kernel, what its release begins with, or its folder.
        own: a tree of the user's, prepared for this flavour; its kernel is built.
        fault: the lab kernel's `zapfault=`.
        shell: the terminal to start a shell on, or "".
        smp: how many CPUs.
        read_only: nothing is written to its disks.

    Raises:
        BadInput: no such architecture, two kernels, or a fault in one that is not the lab's.
        Missing, CannotTell: the kernel cannot be built, or was not fetched.
    """
    if kernel_name is None and own is None:
        request = lab_guest(name, listener, fault=fault, shell=shell)
    elif fault != "none":
        raise BadInput("only the lab's kernel has the lab's faults", "leave out --fault")
    elif own is None:
        assert kernel_name is not None  # the first case is another
        request = stock_guest(name, kernel_name, shell=shell)
    elif kernel_name is None:
        request = own_guest(own, listener, shell=shell)
    else:
        raise BadInput("--kernel-tree builds its own kernel", "leave out --kernel")
    chosen = _accelerator(request, listener)
    return dataclasses.replace(request, smp=smp, read_only=read_only, accel=chosen)


def _accelerator(request: live_guest.Request, listener: Listener) -> str:
    """KVM, if it boots this kernel."""
    with step("accel", "See whether KVM boots a guest", listener) as current:
        config = GuestConfig(request.arch, request.kernel.image, None, "", Path(os.devnull))
        chosen = run_to_end(accel.choose(config))
        current.note = str(chosen)
    return chosen.name


def lab_guest(name: str, listener: Listener, *, fault: str, shell: str = "") -> live_guest.Request:
    """Return a live guest of one architecture, its kernel built and its probe plan made.

    Args:
        fault: its kernel's `zapfault=`.
        shell: the terminal to start a shell on, or "".

    Raises:
        BadInput: no such architecture.
        Missing, CannotTell: the kernel cannot be built.
    """
    arch = arch_named(name)
    built = lab_kernel.build(arch, listener)
    plan_for(built.vmlinux)  # the guest finds it in the cache that it is given
    append = f"zapfault={fault}"
    return live_guest.Request(arch, built, cache_home() / "plans", append=append, shell=shell)


def stock_guest(name: str, kernel_name: str, *, shell: str = "") -> live_guest.Request:
    """Return a live guest with a stock kernel; without a vmlinux it makes its probe plan itself.

    Args:
        kernel_name: what its release begins with, or its folder.
        shell: the terminal to start a shell on, or "".

    Raises:
        BadInput: no such architecture.
        Missing: no such kernel was fetched.
    """
    arch = arch_named(name)
    found = stock.find(arch, kernel_name)
    plans = cache_home() / "plans"
    plans.mkdir(exist_ok=True)
    if found.vmlinux.exists():
        plan_for(found.vmlinux)
    return live_guest.Request(arch, found, plans, shell=shell)


def own_guest(own: kernel_tree.Tree, listener: Listener, *, shell: str = "") -> live_guest.Request:
    """Return a live guest with the kernel of a tree of the user's, built now.

    Args:
        own: the tree, prepared for the live flavour.
        shell: the terminal to start a shell on, or "".

    Raises:
        Missing, CannotTell: it does not build.
        BadInput: its vmlinux has no debug info.
    """
    built = kernel_tree.build(own, listener)
    with step("plan", "Find the probes' places", listener):
        plan_for(built.vmlinux)
    return live_guest.Request(own.arch, built, cache_home() / "plans", shell=shell)


@contextlib.contextmanager
def watched_guest(
    name: str,
    listener: Listener,
    *,
    fault: str,
    kernel_name: str | None = None,
    own: kernel_tree.Tree | None = None,
    smp: int = 2,
    read_only: bool = False,
    options: Sequence[str] = (),
    run: str | None = None,
) -> Iterator[WatchedGuest]:
    """Give a live guest of one architecture, booted and recording, until the block is left.

    Args:
        fault, kernel_name, own, smp, read_only: see `wanted_guest`.
        options: of `zaptrace record` in the guest.
        run: a shell command that runs in it as soon as events come; its output
            goes to the console.

    Raises:
        BadInput: no such architecture.
        Missing, CannotTell: it cannot be made, booted or made to record.
    """
    request = wanted_guest(
        name,
        listener,
        kernel_name=kernel_name,
        own=own,
        fault=fault,
        smp=smp,
        read_only=read_only,
    )
    with scratch_folder() as folder:
        worker = _Worker(request, folder, listener, options, run)
        worker.start()
        try:
            with step("record", "Start the recorder in the guest", listener):
                source = _GuestSource(StreamSource(worker.connected(), f"the {name} guest"), worker)
            console = folder / "console.log"
            yield WatchedGuest(source, lambda: console.read_text(errors="replace"), worker.finished)
        finally:
            worker.stop()


class _Worker(threading.Thread):
    """The thread that the guest lives in: it dies with it."""

    def __init__(
        self,
        request: live_guest.Request,
        folder: Path,
        listener: Listener,
        options: Sequence[str],
        run: str | None,
    ) -> None:
        super().__init__(name="guest", daemon=True)
        self.flowing = threading.Event()
        self.ended: str | None = None
        self.boot_id = ""
        """Of the guest (`zaptrace.model.boot_ids`), once it is there."""
        self._request, self._folder, self._listener = request, folder, listener
        self._recorder = shlex.join(["zaptrace", "record", "-", *options])
        self._command = run
        self._command_ended: tuple[float, int] | None = None
        """By our clock in s, and by the guest's boot clock in ns."""
        self.seen_ns = 0
        """Boot clock of the newest event that has come."""
        self._stream: Future[Path] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def connected(self) -> socket.socket:
        """Return the guest's stream, as soon as it has booted.

        Raises:
            ZaptraceError: it has not.
        """
        path = self._stream.result()
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.connect(str(path))
        except OSError as error:
            raise GuestLost(f"the guest has gone: {error.strerror}") from error
        return stream

    def finished(self) -> bool:
        """See WatchedGuest."""
        if self._command_ended is None:
            return False
        ended, ended_ns = self._command_ended
        # Something always exits in a guest: what came later says that all is here.
        return self.seen_ns > ended_ns or time.monotonic() - ended > DRAIN_SECONDS

    def stop(self) -> None:
        """End the guest."""
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)
        self.join()

    def run(self) -> None:
        """Run the guest until it is asked to stop."""
        try:
            asyncio.run(self._live())
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001  raised again in the thread that waits for the guest
            self.ended = str(error)
            if not self._stream.done():
                self._stream.set_exception(error)

    async def _live(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        async with live_guest.booted(self._request, self._folder, self._listener) as guest:
            out = f"/dev/virtio-ports/{live_guest.STREAM}"
            errors = f"{STATUS}.err"
            status = f'{{ echo "ended with $?"; tail -n 2 {errors}; }} >{STATUS}'
            recorder = f"{{ {self._recorder} >{out} 2>{errors}; {status}; }} &"
            await guest.run(recorder, PATIENCE_SECONDS)
            self.boot_id = boot_ids.joined(guest.found.boot_id, guest.found.restored)
            self._stream.set_result(guest.guest.socket(live_guest.STREAM))
            looking = asyncio.create_task(self._look_after(guest))
            try:
                await asyncio.wait({looking, guest.ended}, return_when=asyncio.FIRST_COMPLETED)
                if looking.done() and looking.exception():  # most likely QEMU is on its way out
                    await asyncio.wait({guest.ended}, timeout=HUNG_UP_SECONDS)
                self.ended = self._how(guest.ended) if guest.ended.done() else looking.result()
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)

    async def _look_after(self, guest: live_guest.LiveGuest) -> str:
        """Start the command once events flow; see it end; return how the recorder ended."""
        learnt = False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.flowing.is_set() and not learnt:
                learnt = True
                await guest.learn_programs()
            if self.flowing.is_set() and self._command is not None:
                command, self._command = shlex.quote(self._command), None
                ended = f"cat /proc/uptime >{DONE}"
                started = f"{{ sh -c {command} >/dev/console 2>&1; {ended}; }} &"
                await guest.run(started, PATIENCE_SECONDS)
            left = (await guest.run(f"grep -sH . {STATUS} {DONE}", PATIENCE_SECONDS)).out
            if self._command_ended is None and (uptime := _words(left, DONE)):
                self._command_ended = (time.monotonic(), _ns(uptime[0]) + _CLOCK_NS)
            if words := _words(left, STATUS):
                return f"the recorder in the guest {' '.join(words)}"

    def _how(self, ended: asyncio.Task[str]) -> str:
        """Return how a guest ended that was not asked to."""
        try:
            what = _ENDS.get(ended.result(), "was stopped")
        except GuestLost as error:
            what = f"is lost: {error}"
        last = last_line(self._folder / "console.log") or "(nothing)"
        return f"the guest {what}; its console ends with: {last}"


def _words(left: str, path: str) -> list[str]:
    """Return the contents of a file of the guest, out of its `grep -H`."""
    lines = (line.partition(":") for line in left.splitlines())
    return [word for name, _, text in lines if name == path for word in text.split()]


def _ns(uptime: str) -> int:
    """Seconds in words of the guest's, which may be anything, in ns."""
    return int(float(uptime) * 1e9) if re.fullmatch(r"\d{1,9}\.\d\d", uptime) else 0


class _GuestSource:
    """The guest's stream; ends when its recorder does, of which the port itself says nothing."""

    def __init__(self, stream: StreamSource, worker: _Worker) -> None:
        self._stream = stream
        self._worker = worker

    def read(self, seconds: float) -> Events | None:
        """See `Source.read`.

        Raises:
            CannotTell: the guest or its recorder has ended.
            BadInput: what comes is no capture.
        """
        try:
            events = self._stream.read(seconds)
        except BadInput:
            if ended := self._end():
                raise CannotTell(ended) from None
            raise
        if events is not None and "source" in events.meta:  # the recorder's first words
            self._worker.flowing.set()
            events.meta["boot_id"] = self._worker.boot_id  # which the guest need not know
        if events is not None and len(clocks := events.records["clock"]):
            newest = clocks[clocks != ABSENT].max(initial=0)
            self._worker.seen_ns = max(self._worker.seen_ns, int(newest))
        if events is None:
            raise CannotTell(self._end() or "the guest has closed its stream")
        if self._worker.ended is not None and not len(events.records):
            raise CannotTell(self._worker.ended)
        return events

    def _end(self) -> str | None:
        """Return how it ended, which the stream may know a moment before the worker does."""
        self._worker.join(GONE_SECONDS)
        return self._worker.ended

    def close(self) -> None:
        """See `Source.close`."""
        self._stream.close()
