"""The same boot many times, on the workers of a cluster: what `repro --repeat --scheduler` does."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable
from pathlib import Path

from zaptrace.model.errors import BadInput, CannotTell
from zaptrace.model.paths import write_whole
from zaptrace.model.progress import Listener, Step, step
from zaptrace.runs.cluster import pool
from zaptrace.runs.cluster.process import FOLDER, LOG, REFUSED, Outcome, Task
from zaptrace.runs.folder import RunFolder
from zaptrace.runs.repeat import Boot, Repeats, begun, complaint, folder_of, judged
from zaptrace.runs.repro import Request, command

KEPT = ("run/*.json", "run/*.log", "run/*.zap", "run/report.txt")
"""Of a run folder: no dump, and neither kernel nor root file system, which are known here."""
MOST_BYTES = 256 << 20
BUILD_SECONDS = 3600.0
"""What a machine may take for its first boot of a lab kernel, which it builds."""
FILES = ("kernel", "vmlinux", "initrd")


def repeat(
    request: Request, count: int, scheduler: str, listener: Listener, tell: Callable[[str], object]
) -> Repeats:
    """Make a request's boot up to `count` times, one at a time on each worker.

    The run folders come back, without dumps.  Fewer boots are made when `Repeats.sure`.

    Args:
        request: its folder, when it has one, becomes the parent of theirs.
        scheduler: the cluster's address.
        tell: is called with each worker that comes or goes.

    Raises:
        BadInput: a boot could not even be tried, and why.
        Missing, CannotTell: see `pool.connected`.
    """
    repeats = begun(request, count)
    task, files = _task(request)
    title = f"Boot {count} times, on {scheduler}"
    with (
        step("boots", title, listener) as current,
        pool.connected(scheduler, pool.only_workers(tell), files) as workers,
    ):
        _all(workers, request, task, repeats, current)
        current.note = f"{repeats.hits} of {repeats.judged} showed a bug"
    return repeats


def _all(
    workers: pool.Pool[int], request: Request, task: Task, repeats: Repeats, current: Step
) -> None:
    numbers = iter(range(1, repeats.asked + 1))
    begin: dict[int, float] = {}
    while True:
        for _ in range(0 if repeats.sure else workers.free()):
            if number := next(numbers, None):
                begin[number] = time.monotonic()
                workers.give(number, task)
        if not workers.running and (repeats.sure or len(begin) == repeats.asked):
            return
        for number, outcome in workers.ended():
            folder = folder_of(request, number)
            _unpack(folder, outcome, request)
            seconds = time.monotonic() - begin[number]
            repeats.boots.append(_boot(number, folder, seconds, outcome))
            note = f"{repeats.hits} of {repeats.judged} showed a bug"
            current.advance(len(repeats.boots), repeats.asked, note)
        time.sleep(pool.LOOK_SECONDS)


def _boot(number: int, folder: RunFolder, seconds: float, outcome: Outcome) -> Boot:
    if outcome.why.startswith(REFUSED):  # so will be all that follow
        raise CannotTell(f"the boot {outcome.why}")
    if outcome.status is None:
        return Boot(number, folder.path, seconds, None, "", f"the boot {outcome.why}")
    said = complaint(outcome.left[LOG])
    return judged(number, folder, seconds, outcome.status, said)


def _task(request: Request) -> tuple[Task, dict[str, Path]]:
    """Return a boot as a worker makes it, and the files that it needs: SHA-256 -> where one is
    here."""
    own: dict[str, Path] = {}
    for name in FILES:
        path = getattr(request, name)
        if path is not None:
            if not path.is_file():
                raise BadInput(f"{path} is not a file")
            own[name] = path
    lent = {name: pool.digest_of(path) for name, path in own.items()}
    there = dataclasses.replace(
        request,
        kernel=_there(request.kernel, "kernel"),
        vmlinux=_there(request.vmlinux, "vmlinux"),
        initrd=_there(request.initrd, "initrd"),
        kernel_tree=None,  # it has been built, here
        config=None,
    )
    words = shlex.split(command(there))[1:]
    seconds = request.timeout + BUILD_SECONDS
    run = ("-P", "-m", "zaptrace", *words, "--no-tui", "--run", f"{FOLDER}/run")
    files = {lent[name]: path for name, path in own.items()}
    return Task(run, seconds, KEPT, lent=lent, most_bytes=MOST_BYTES), files


def _there(path: Path | None, name: str) -> Path | None:
    return Path(FOLDER, name) if path else None


def _unpack(folder: RunFolder, outcome: Outcome, request: Request) -> None:
    """Leave what came back in a run folder, which speaks of the files here."""
    for name, data in outcome.left.items():
        if name != LOG:
            write_whole(folder.path / Path(name).name, data)
    if not (folder.path / "run.json").exists():
        return
    facts = folder.facts()
    for name in FILES:
        if (path := getattr(request, name)) is not None:
            setattr(facts, name, str(path.absolute()))
    tree = request.kernel_tree
    facts.kernel_tree = str(tree.absolute()) if tree else None
    facts.command = command(request)
    folder.save_facts(facts)
    if (document := folder.verdict()) is not None:
        report = folder.report.read_text() if folder.report.exists() else ""
        was, document["run"] = str(document["run"]), str(folder.path)
        folder.save_verdict(document, report.replace(was, str(folder.path)))
