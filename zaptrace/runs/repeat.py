"""The same boot many times: how often the bug strikes, and how sure that is.

Each boot is a zaptrace of its own, in a run folder of its own: several at once
share nothing, and a damaged dump takes down no other boot.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vm import lab_kernel
from zaptrace.arch import arch_named
from zaptrace.model.errors import BadInput, Exit
from zaptrace.model.progress import Listener, Step, step
from zaptrace.model.verdict import VerdictKind
from zaptrace.report.ci import Case
from zaptrace.report.saved_verdict import verdict_of
from zaptrace.runs import self_exec
from zaptrace.runs.asyncio_run import run_to_end
from zaptrace.runs.folder import RunFolder
from zaptrace.runs.hit_rate import wilson
from zaptrace.runs.repro import Request, command
from zaptrace.runs.signature import signature_of

SURE = 0.20
"""The width of the hit rate's 95% interval at which more boots are not worth their time."""
PATIENCE = 15.0  # s; a boot that is asked to end takes down its guest
CLEAN = VerdictKind.CLEAN.value


@dataclass(frozen=True, slots=True)
class Boot:
    """One boot.

    Attributes:
        kind: its verdict's, None without one.
        bug: kind and function as a person reads them, "" for a clean one.
        why: the verdict's summary, or why it has none.
    """

    number: int
    run: Path
    seconds: float
    kind: str | None
    bug: str
    why: str


@dataclass(slots=True)
class Repeats:
    """All of them, in the order of their ends.

    Attributes:
        asked: how many were requested.
    """

    arch: str
    asked: int
    boots: list[Boot] = field(default_factory=list)

    @property
    def in_order(self) -> list[Boot]:
        """As they were numbered."""
        return sorted(self.boots, key=lambda boot: boot.number)

    @property
    def judged(self) -> int:
        """Boots with a verdict."""
        return sum(boot.kind is not None for boot in self.boots)

    @property
    def lost(self) -> int:
        """Boots without one."""
        return len(self.boots) - self.judged

    @property
    def hits(self) -> int:
        """Boots that showed a bug."""
        return sum(boot.kind not in (None, CLEAN) for boot in self.boots)

    @property
    def sure(self) -> bool:
        """Whether the bug occurs and its rate is known well enough.

        Clean boots alone are never enough: a user who asks for a hundred of them
        wants to see a rare bug.
        """
        low, high = wilson(self.hits, self.judged)
        return self.hits > 0 and high - low <= SURE

    @property
    def verdicts(self) -> dict[str, int]:
        """Verdict kind -> boots, most first."""
        return dict(Counter(boot.kind for boot in self.boots if boot.kind).most_common())

    def to_json(self) -> dict[str, Any]:
        """Return what `repro --repeat --json` prints."""
        return {
            "arch": self.arch,
            "asked": self.asked,
            "boots": len(self.boots),
            "hits": self.hits,
            "lost": self.lost,
            "rate": self.hits / self.judged if self.judged else None,
            "interval": list(wilson(self.hits, self.judged)),
            "stopped_early": len(self.boots) < self.asked,
            "verdicts": self.verdicts,
            "bugs": dict(Counter(boot.bug for boot in self.boots if boot.bug).most_common()),
            "runs": [
                {
                    "run": str(boot.run),
                    "seconds": boot.seconds,
                    "kind": boot.kind,
                    "summary": boot.why,
                }
                for boot in self.in_order
            ],
        }


def repeat(request: Request, count: int, jobs: int, listener: Listener) -> Repeats:
    """Make a request's boot up to `count` times, `jobs` at once; fewer when `Repeats.sure`.

    The dumps of clean boots are not kept.

    Args:
        request: its folder, when it has one, becomes the parent of theirs.

    Raises:
        BadInput: a boot could not even be tried, and why.
        KeyboardInterrupt: every guest is gone; what is in the run folders stays.
    """
    repeats = begun(request, count)
    if request.kernel is None:
        lab_kernel.build(arch_named(request.arch), listener)  # once, and seen
    with step("boots", f"Boot {count} times, {jobs} at once", listener) as current:
        run_to_end(_all(request, repeats, jobs, current))
        current.note = f"{repeats.hits} of {repeats.judged} showed a bug"
    return repeats


def begun(request: Request, count: int) -> Repeats:
    """Return an empty count: nothing is booted yet.

    Raises:
        BadInput: the folder for their run folders is not empty.
    """
    parent = request.folder
    if parent is not None and parent.exists() and any(parent.iterdir()):
        raise BadInput(f"{parent} is not empty: the runs keep to a folder of their own")
    return Repeats(request.arch, count)


def folder_of(request: Request, number: int) -> RunFolder:
    """Make a boot's own run folder."""
    at = request.folder / f"boot-{number:03}" if request.folder else None
    return RunFolder.create(request.arch, at)


async def _all(request: Request, repeats: Repeats, jobs: int, current: Step) -> None:
    numbers = iter(range(1, repeats.asked + 1))
    workers = [
        asyncio.create_task(_some(request, numbers, repeats, current))
        for _ in range(min(jobs, repeats.asked))
    ]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            # A second time would break into the end of its child process.
            if not worker.cancelling():
                worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _some(request: Request, numbers: Iterator[int], repeats: Repeats, current: Step) -> None:
    """Boot again and again, until there are enough boots."""
    for number in numbers:
        if repeats.sure:
            return
        repeats.boots.append(await _boot(request, number, folder_of(request, number)))
        note = f"{repeats.hits} of {repeats.judged} showed a bug"
        current.advance(len(repeats.boots), repeats.asked, note)


async def _boot(request: Request, number: int, folder: RunFolder) -> Boot:
    """Boot once, in a process of its own."""
    words = shlex.split(command(replace(request, folder=None)))[1:]
    argv = (*self_exec.ARGV, *words, "--json", "--run", str(folder.path))
    started = time.monotonic()
    status, said = await _ran(argv)
    return judged(number, folder, time.monotonic() - started, status, said)


def judged(number: int, folder: RunFolder, seconds: float, status: int, said: str) -> Boot:
    """Return what a boot came to.

    Args:
        folder: what it left.
        status, said: the exit status of its `zaptrace repro`, and its complaint.

    Raises:
        BadInput: it could not even be tried, and so no other can.
    """
    document = folder.verdict()
    if document is None:
        if status == Exit.USAGE:  # it would be so for every boot
            raise BadInput(said)
        return Boot(number, folder.path, seconds, None, "", said)
    verdict = verdict_of(document)
    if status == Exit.CANNOT_TELL:
        return Boot(number, folder.path, seconds, None, "", verdict.summary)
    clean = verdict.kind is VerdictKind.CLEAN
    if clean:
        folder.vmcore.unlink(missing_ok=True)
    bug = "" if clean else str(signature_of(verdict))
    return Boot(number, folder.path, seconds, verdict.kind.value, bug, verdict.summary)


async def _ran(argv: Sequence[str]) -> tuple[int, str]:
    """Run it; its exit status, and its complaint."""
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "TERM", *argv),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=self_exec.environment(),
        start_new_session=True,  # Ctrl-C is ours to pass on
    )
    try:
        _out, words = await process.communicate()
    finally:
        await _ended(process)
    return process.returncode or 0, complaint(words)


def complaint(words: bytes) -> str:
    """Return the error in a zaptrace's output; its last line without one."""
    lines = words.decode(errors="replace").splitlines()
    said = [line.partition("zaptrace: ")[2] for line in lines if line.startswith("zaptrace: ")]
    return (said or lines[-1:] or ["it said nothing"])[-1]


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End a boot that was left, politely at first, so that it ends its guest."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), PATIENCE)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def case_of(boot: Boot, expected: str | None) -> Case:
    """Return a boot as a test case.

    Args:
        expected: the verdict kind that is the success; None for `clean`.
    """
    name = f"boot_{boot.number}"
    if boot.kind is None:
        return Case(name, boot.seconds, error=boot.why)
    if boot.kind == (expected or CLEAN):
        return Case(name, boot.seconds)
    report = RunFolder(boot.run).report
    details = report.read_text(errors="replace") if report.is_file() else ""
    return Case(name, boot.seconds, boot.kind, message=boot.why, details=details)


def summary(repeats: Repeats) -> str:
    """Return the count for a person."""
    low, high = wilson(repeats.hits, repeats.judged)
    rate = f": {repeats.hits / repeats.judged:.0%}" if repeats.judged else ""
    of = f"{repeats.hits} of {repeats.judged} boots showed a bug{rate}"
    lines = [f"{of} (95% interval {low:.0%} to {high:.0%})"]
    counts = Counter(boot.bug or CLEAN for boot in repeats.boots if boot.kind)
    lines += [f"  {count:5}  {name}" for name, count in counts.most_common()]
    if repeats.lost:
        lines.append(f"  {repeats.lost:5}  without a verdict (guest lost)")
    if len(repeats.boots) < repeats.asked:
        lines.append(
            f"Stopped after {len(repeats.boots)} of {repeats.asked}: the interval is narrower "
            f"than {SURE:.0%}"
        )
    newest = [str(boot.run) for boot in repeats.boots if boot.bug]
    return "\n".join([*lines, *(f"See: zaptrace explain {run}" for run in newest[-1:])])
