"""Many tries of a flaky bug of user space: each starts from one guest that was saved before its
first program.

The guest is booted once, stopped where the kernel is about to run its first program, and saved
(`vm.migration`).  A try restores it, gives it a boot id and a random seed of its own, and has the
kernel wait a random time first, so that no two run alike.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from vm import kernel_calls
from vm.breakpoints import Stops, run_to
from vm.qemu import Guest, GuestConfig, running
from zaptrace.memory.first_program import FirstProgram, first_program
from zaptrace.model import boot_ids
from zaptrace.model.errors import CannotTell, Exit, ZaptraceError
from zaptrace.model.paths import scratch_folder, write_whole
from zaptrace.model.progress import Listener, Step, ignore, step
from zaptrace.model.verdict import VerdictKind
from zaptrace.runs import repro_guest
from zaptrace.runs.asyncio_run import run_to_end
from zaptrace.runs.explain_run import analyse
from zaptrace.runs.folder import RunFolder
from zaptrace.runs.repeat import Boot, Repeats, begun, folder_of, judged
from zaptrace.runs.repro import Prepared, Request, command, end_of, prepared, proper_vmcore

MOST_DELAY = 20_000  # microseconds: two ticks of a kernel with 100 a second
CALL_SECONDS = 20.0
_LONGEST_LINE = 8192
_PIECE = 512
"""Bytes; QEMU's gdbstub gives at most 2047 at a time."""
_NO_LIFE = "Pages' lives were not recorded: each try starts from a saved guest."


@dataclass(frozen=True, slots=True)
class Saved:
    """A guest before its first program.

    Attributes:
        state: the file with its state.
        console: what it had printed.
        places: addresses in its kernel, as it runs.
    """

    prepared: Prepared
    state: Path
    console: bytes
    places: FirstProgram


def repeat(request: Request, count: int, jobs: int, listener: Listener) -> Repeats:
    """Try up to `count` times, `jobs` at once; fewer when `Repeats.sure`.

    Args:
        request: its folder, when it has one, becomes the parent of the tries' own.

    Raises:
        BadInput: a guest cannot be tried so, and why.
        CannotTell: the guest did not come to its first program.
        KeyboardInterrupt: every guest is gone; what is in the run folders stays.
    """
    repeats = begun(request, count)
    with scratch_folder() as scratch:
        saved = _save(request, scratch, listener)
        title = f"Try {count} times from user space on, {jobs} at once"
        with step("boots", title, listener) as current:
            _all(saved, request, repeats, jobs, current)
            current.note = f"{repeats.hits} of {repeats.judged} showed a bug"
    return repeats


def _save(request: Request, scratch: Path, listener: Listener) -> Saved:
    base = dataclasses.replace(request, folder=scratch / "base")
    one = prepared(base, listener, room=True)
    with step("save", "Boot to the first program, and save", listener) as current:
        state = scratch / "state"
        places = run_to_end(_saved(one, state, request.timeout))
        current.note = f"{state.stat().st_size >> 20} MiB"
    return Saved(one, state, one.config.console.read_bytes(), places)


async def _saved(one: Prepared, state: Path, seconds: float) -> FirstProgram:
    vmlinux = Path(one.facts.vmlinux)
    stops = Stops((first_program(vmlinux).begin,), one.where.anchors)
    async with running(one.config, one.folder.qemu_log) as guest:
        stop = await run_to(guest, stops, seconds)
        if stop.ended != "breakpoint":
            raise CannotTell(f"the guest did not come to its first program ({stop.ended})")
        for address in stop.at:
            await kernel_calls.pause_at(guest, address)
        with state.open("wb") as file:
            await guest.save(file)
    return first_program(vmlinux, stop.offset or 0)


def _all(saved: Saved, request: Request, repeats: Repeats, jobs: int, current: Step) -> None:
    numbers = iter(range(1, repeats.asked + 1))
    running: dict[concurrent.futures.Future[tuple[int, str]], tuple[int, RunFolder, float]] = {}
    with _workers(jobs) as begin:
        while True:
            while len(running) < jobs and not repeats.sure:
                number = next(numbers, None)
                if number is None:
                    break
                folder = folder_of(request, number)
                future = begin().submit(attempt, saved, folder.path, command(request))
                running[future] = number, folder, time.monotonic()
            if not running:
                return
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in done:
                number, folder, started = running.pop(future)
                repeats.boots.append(_boot(future, number, folder, time.monotonic() - started))
            note = f"{repeats.hits} of {repeats.judged} showed a bug"
            current.advance(len(repeats.boots), repeats.asked, note)


def _boot(
    future: concurrent.futures.Future[tuple[int, str]],
    number: int,
    folder: RunFolder,
    seconds: float,
) -> Boot:
    try:
        status, said = future.result()
    except BrokenProcessPool:
        return Boot(number, folder.path, seconds, None, "", "the process that tried it died")
    return judged(number, folder, seconds, status, said)


@contextlib.contextmanager
def _workers(jobs: int) -> Iterator[_Begin]:
    """Start processes that try; a damaged dump takes down no other try."""
    begin = _Begin(jobs)
    try:
        yield begin
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()  # its guest dies with it
        raise
    finally:
        begin.pool.shutdown(cancel_futures=True)


class _Begin:
    """The processes; others, when one of them died."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self.pool = self._made()

    def __call__(self) -> concurrent.futures.ProcessPoolExecutor:
        try:
            self.pool.submit(int).result()
        except BrokenProcessPool:
            self.pool = self._made()
        return self.pool

    def _made(self) -> concurrent.futures.ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        return concurrent.futures.ProcessPoolExecutor(self._jobs, spawn, _deaf)


def _deaf() -> None:
    """Leave Ctrl-C to who started us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def attempt(saved: Saved, at: Path, said: str) -> tuple[int, str]:
    """Make one try; its exit status, and its complaint.

    Args:
        at: its run folder.
        said: the command that makes such a try again.
    """
    folder = RunFolder(at)
    try:
        return _tried(saved, folder, said)
    except ZaptraceError as error:
        return int(error.exit_code), str(error)


def _tried(saved: Saved, folder: RunFolder, said: str) -> tuple[int, str]:
    first = saved.prepared.facts.boot_id
    assert first is not None
    second = boot_ids.new()
    facts = dataclasses.replace(
        saved.prepared.facts,
        boot_id=boot_ids.joined(first, second),
        command=f"{said} --repeat 1 --from user-space",
        unrecorded=list(saved.prepared.facts.unrecorded),
        life_unrecorded=[_NO_LIFE],
        timing={},
    )
    config = _lie_in(folder, saved.prepared)
    note = f"zaptrace: {boot_ids.note(first, second)}\r\n".encode()
    write_whole(folder.console, saved.console + note)
    folder.save_plan(saved.prepared.plan)
    folder.save_facts(facts)

    async def begin(guest: Guest) -> None:
        await _set_apart(guest, saved.places, second)

    with saved.state.open("rb") as state:
        ended = repro_guest.run_guest(
            config,
            folder,
            facts,
            ignore,
            where=saved.prepared.where,
            seconds=saved.prepared.request.timeout,
            dump=saved.prepared.request.stop_at != "never",
            restored=repro_guest.Restored(state.fileno(), begin),
        )
        end = run_to_end(ended)
    proper_vmcore(folder, facts, ignore)
    end_of(end, saved.prepared, folder, facts)
    result = analyse(folder, facts, ignore)
    unknown = result.verdict.kind is VerdictKind.UNEXPLAINED and not result.suspicious
    return int(Exit.CANNOT_TELL if unknown else Exit.OK), result.verdict.summary


def _lie_in(folder: RunFolder, one: Prepared) -> GuestConfig:
    """Return the guest, with its files in a try's own folder."""
    for ours, theirs in ((folder.image, one.config.kernel), (folder.initrd, one.config.initrd)):
        assert theirs is not None
        try:
            os.link(theirs, ours)
        except OSError:  # another file system
            shutil.copyfile(theirs, ours)
    return dataclasses.replace(
        one.config, kernel=folder.image, initrd=folder.initrd, console=folder.console
    )


async def _set_apart(guest: Guest, places: FirstProgram, boot_id: str) -> None:
    """Give a restored guest what no other one has: its id, a seed, a delay."""
    order = guest.config.arch.byteorder
    await kernel_calls.choose_at(guest, places.begin)
    line = int.from_bytes(await guest.read(places.command_line, 8), order)
    room = boot_ids.room().encode()
    text = b""
    while b"\0" not in text and len(text) < _LONGEST_LINE:
        text += await guest.read(line + len(text), _PIECE)
    where = text.partition(b"\0")[0].find(room)
    if where < 0:
        raise CannotTell("the guest's command line is not the one that it was booted with")
    await guest.write(line + where, boot_ids.room(boot_id).encode())
    if places.random_key is not None and places.random_generation is not None:
        await guest.write(places.random_key, secrets.token_bytes(32))
        await guest.write(places.random_generation, secrets.token_bytes(4).rjust(8, b"\0"))
    if places.delay is not None:
        delay = secrets.randbelow(MOST_DELAY)
        await kernel_calls.call(
            guest, places.begin, places.delay, (delay,), places.never, CALL_SECONDS
        )
