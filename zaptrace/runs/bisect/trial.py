"""One commit's trial: build it, boot it, and say whether it has the bug."""

from __future__ import annotations

import dataclasses
import enum
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vm import kernel_tree
from vm.kernel_tree import Tree, TreeKernel
from zaptrace.model.errors import CannotTell
from zaptrace.model.progress import Listener, Update, step
from zaptrace.model.verdict import VerdictKind
from zaptrace.runs.bisect.seen_by import Sight, Wanted
from zaptrace.runs.explain_run import Result
from zaptrace.runs.repro import Request, repro
from zaptrace.runs.signature import Signature, signature_of


class Mark(enum.Enum):
    """The answers to git bisect; the values are those of `git bisect run`."""

    GOOD = 0
    BAD = 1
    SKIP = 125


@dataclass(frozen=True, slots=True)
class Guest:
    """How every commit is booted.

    Attributes:
        boots: clean boots that make a commit good.
    """

    initrd: Path | None = None
    append: str = ""
    memory: str = "512M"
    smp: int = 2
    timeout: float = 60.0
    boots: int = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a commit's trial came to.

    Attributes:
        why: in a few words.
        boots: how often it was booted to a verdict.
        hits: how often that was the bug.
        kind, function: of the bug, when one was seen.
        run: the run folder that shows it.
        sight: what it was seen by.
    """

    mark: Mark
    why: str
    boots: int = 0
    hits: int = 0
    kind: str | None = None
    function: str | None = None
    run: str | None = None
    sight: Sight = field(default_factory=Sight)

    @property
    def signature(self) -> Signature | None:
        """The bug that was seen."""
        return Signature(self.kind, self.function) if self.kind else None

    def to_json(self) -> dict[str, Any]:
        """Return it as the session keeps it and `--json` prints it."""
        return {**dataclasses.asdict(self), "mark": self.mark.name.lower()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Outcome:
        """Return the inverse of `to_json`."""
        sight = Sight.from_json(data.get("sight"))
        return cls(**{**data, "mark": Mark[data["mark"].upper()], "sight": sight})


@dataclass(frozen=True, slots=True)
class Seen:
    """A bug that a boot showed."""

    bug: Signature
    run: Path
    sight: Sight = field(default_factory=Sight)


def try_tree(
    source: Tree, guest: Guest, expected: Wanted | None, folder: Path, listener: Listener
) -> Outcome:
    """Build what is checked out, and boot it until it shows the bug or has been clean long enough.

    Args:
        expected: the bug; None for any, and then every boot is made, for the hit rate.
        folder: where the runs that matter are left.

    Raises:
        ZaptraceError: this machine lacks something; that says nothing of the commit.
    """
    try:
        kernel = kernel_tree.build(source, listener)
    except CannotTell as error:
        return Outcome(Mark.SKIP, str(error))
    shutil.rmtree(folder, ignore_errors=True)
    return _boots(kernel, guest, expected, folder, listener)


def _boots(
    kernel: TreeKernel, guest: Guest, expected: Wanted | None, folder: Path, listener: Listener
) -> Outcome:
    seen: list[Seen] = []
    for number in range(1, guest.boots + 1):
        run = folder / f"boot-{number}"
        title = f"Boot {number} of {guest.boots}"
        try:
            with step("boot", title, listener) as current:
                result = repro(_request(kernel, guest, run), _noted(current.advance))
                current.note = str(signature_of(result.verdict))
        except CannotTell as error:  # a guest that hung or died
            return Outcome(Mark.SKIP, f"boot {number}: {error}", number - 1, run=str(run))
        (run / "vmcore").unlink(missing_ok=True)
        if result.verdict.kind is VerdictKind.CLEAN:
            if expected and (why := expected.unseen(result)):
                return Outcome(Mark.SKIP, f"boot {number}: {why}", number - 1, run=str(run))
            shutil.rmtree(run)
            continue
        if not _is_bug(result):
            return Outcome(Mark.SKIP, f"boot {number}: {result.verdict.summary}", number - 1)
        seen.append(Seen(signature_of(result.verdict), run, Sight.of(result)))
        if expected is not None:
            return _judged(expected.bug, seen[0], number)
    if not seen:
        return Outcome(Mark.GOOD, f"{guest.boots} clean boots", guest.boots)
    return _most_often(seen, guest.boots)


def _is_bug(result: Result) -> bool:
    return result.verdict.kind is not VerdictKind.UNEXPLAINED or result.suspicious


def _judged(expected: Signature, seen: Seen, boots: int) -> Outcome:
    """Bad only for the same bug: another one may hide it."""
    same = expected.matches(seen.bug)
    return Outcome(
        Mark.BAD if same else Mark.SKIP,
        f"{seen.bug}, boot {boots}" if same else f"another bug: {seen.bug}",
        boots,
        int(same),
        seen.bug.kind,
        seen.bug.function,
        str(seen.run),
        seen.sight,
    )


def _most_often(seen: list[Seen], boots: int) -> Outcome:
    """Return the bug that most of the boots showed; one that no rule explains only where all are
    so."""
    counts = Counter(one.bug for one in seen if one.bug.explained) or Counter(
        one.bug for one in seen
    )
    ((bug, hits),) = counts.most_common(1)
    first = next(one for one in seen if one.bug == bug)
    why = f"{bug}, {hits} of {boots} boots"
    return Outcome(Mark.BAD, why, boots, hits, bug.kind, bug.function, str(first.run), first.sight)


def _request(kernel: TreeKernel, guest: Guest, run: Path) -> Request:
    return Request(
        arch=kernel.arch.name,
        kernel=kernel.image,
        vmlinux=kernel.vmlinux,
        initrd=guest.initrd,
        append=guest.append,
        memory=guest.memory,
        smp=guest.smp,
        timeout=guest.timeout,
        folder=run,
    )


def _noted(advance: Any) -> Listener:
    """Return a run's own steps, as the notes of one."""

    def listen(update: Update) -> None:
        advance(note=update.title)

    return listen
