"""From console logs alone to verdicts: the same rules, on what the kernel printed and no more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zaptrace.explain import Evidence, explain
from zaptrace.explain.evidence import LOG, no_source
from zaptrace.explain.verdict_table import RULES
from zaptrace.model.errors import BadInput
from zaptrace.model.splats import Frame, Splat
from zaptrace.model.verdict import CodeSite, Verdict, VerdictKind
from zaptrace.report.document import summary
from zaptrace.report.run_info import RunInfo
from zaptrace.report.splat_excerpt import BEFORE, MOST_LINES, excerpt
from zaptrace.runs.log_files import LogFile
from zaptrace.splat import parse
from zaptrace.splat.kinds import from_mm
from zaptrace.triage import Console, triage
from zaptrace.triage.boot import BootReader
from zaptrace.triage.rows_oops import is_oops_of_pages

if TYPE_CHECKING:
    import drgn

_RANK: dict[VerdictKind, int] = {
    row.kind: rank
    for rank, row in reversed(list(enumerate(RULES)))
    if row.kind is not VerdictKind.UNEXPLAINED
}
_TOLERATED = 10
"""One of so many functions may differ from the vmlinux's."""


@dataclass(frozen=True, slots=True)
class LogResult:
    """What one log, or the worst of several, came to.

    Attributes:
        verdict, info: as for a run.
        document: what `--json` prints.
        suspicious: the log holds a report of the code that handles pages, or an oops in it.
    """

    verdict: Verdict
    info: RunInfo
    document: dict[str, Any]
    suspicious: bool


@dataclass(frozen=True, slots=True)
class _Read:
    """One log, read and explained."""

    file: LogFile
    console: Console
    verdict: Verdict
    suspicious: bool


def explain_logs(files: Sequence[LogFile], vmlinux: Path | None) -> LogResult:
    """Explain each log by itself, and return the worst with what stands out in all.

    Args:
        vmlinux: of the kernel that wrote the logs, for source lines.

    Raises:
        BadInput: a log cannot be read, or the vmlinux is another kernel's.
        Missing: no vmlinux there, or zstd is not installed.
    """
    start = time.monotonic()
    names = _Names(vmlinux) if vmlinux else None
    read = [_explained(file, names, several=len(files) > 1) for file in files]
    worst = min(read, key=_badness)
    consoles = [one.console for one in read]
    whole = consoles[0] if len(read) == 1 else _together(consoles)
    info = RunInfo(
        run=", ".join(file.name for file in files[:4]) + (", …" if len(files) > 4 else ""),
        kernel_release=worst.console.release,
        splat=_kernels_words(worst),
        splats=sum(len(one.console.splats) for one in read),
        timing={"explain": time.monotonic() - start},
        triage=triage(whole),
        logs=_listed(read) if len(read) > 1 else (),
    )
    suspicious = any(one.suspicious for one in read)
    document = {**summary(worst.verdict, info), "suspicious": suspicious}
    document["logs"] = [_entry(one) for one in read]
    return LogResult(worst.verdict, info, document, suspicious)


def _explained(file: LogFile, names: _Names | None, *, several: bool) -> _Read:
    boot = BootReader()
    splats = parse(boot.through(file.blocks()))
    if several:
        splats = [replace(splat, log=file.name) for splat in splats]
    console = Console(tuple(splats), boot.facts())
    located, resolve = (names.addressed(splats), names.resolve) if names else (splats, no_source)
    evidence = Evidence(
        splats=located,
        ended=LOG,
        resolve=resolve,
        console=True,
        boot=console.boot,
    )
    verdict = explain(evidence)
    verdict = names.sharpened(verdict) if names else verdict
    suspicious = any(from_mm(splat) or is_oops_of_pages(splat, console) for splat in splats)
    return _Read(file, console, verdict, suspicious)


def _badness(one: _Read) -> tuple[int, bool, bool]:
    """Least for the worst: as the rules are ranked, then what is not explained."""
    kind = one.verdict.kind
    return _RANK.get(kind, len(RULES)), not one.suspicious, kind is VerdictKind.CLEAN


def _together(consoles: Sequence[Console]) -> Console:
    return Console(tuple(splat for one in consoles for splat in one.splats))


def _kernels_words(read: _Read) -> tuple[str, ...]:
    """Return the kernel's own report on what the verdict is about."""
    pfn = read.verdict.pfn
    splats = read.console.splats
    said = {one.line for sentence in read.verdict.sentences for one in sentence.rests_on}
    about = [splat for splat in splats if pfn is not None and splat.pfn == pfn]
    about = about or [splat for splat in splats if splat.line in said]
    about = about or [splat for splat in splats if from_mm(splat)]
    if not about or not about[0].line:
        return ()
    first = max(about[0].line - BEFORE, 1)
    console = read.file.lines(first, BEFORE + 1 + MOST_LINES)
    return excerpt(console, replace(about[0], line=about[0].line - first + 1))


def _listed(read: Sequence[_Read]) -> tuple[str, ...]:
    return tuple(
        f"{one.file.name}: {one.verdict.kind.value}, {len(one.console.splats)} reports"
        for one in read
    )


def _entry(one: _Read) -> dict[str, Any]:
    return {
        "log": one.file.name,
        "kernel_release": one.console.release,
        "splats": len(one.console.splats),
        "verdict": one.verdict.kind.value,
        "pfn": one.verdict.pfn,
        "summary": one.verdict.summary,
    }


class _Names:
    """Source lines out of a vmlinux, for the frames that a log prints."""

    def __init__(self, vmlinux: Path) -> None:
        from zaptrace.memory.vmlinux import open_vmlinux

        self._path = vmlinux
        self._prog: drgn.Program = open_vmlinux(vmlinux)

    def addressed(self, splats: Sequence[Splat]) -> list[Splat]:
        """Return the splats with each frame's address in the vmlinux; the rest have none.

        A printed address may be hashed, or moved by KASLR: it says nothing here.

        Raises:
            BadInput: the functions are not as long as the log says: another build's.
        """
        from zaptrace.runs.source_lines import addressed

        self._check(splats)
        plain = [_without_addresses(splat) for splat in splats]
        return addressed(self._prog, plain)

    @property
    def resolve(self) -> Callable[[int], CodeSite | None]:
        """Return address -> its code site."""
        from zaptrace.memory.resolve import code_site

        return lambda address: code_site(self._prog, address)

    def sharpened(self, verdict: Verdict) -> Verdict:
        """Return the verdict with the lines of its sites."""
        from zaptrace.runs.source_lines import sharpened

        return sharpened(self._prog, verdict)

    def _check(self, splats: Sequence[Splat]) -> None:
        frames = {
            (one.symbol, one.size): one
            for splat in splats
            for one in splat.trace
            if one.symbol and one.size and one.module is None
        }
        wrong = [one for one in frames.values() if not self._fits(one)]
        if len(wrong) * _TOLERATED > len(frames):
            one = wrong[0]
            raise BadInput(
                f"{self._path} is not the kernel that wrote this log: no {one.symbol} of "
                f"{one.size:#x} bytes is in it ({len(wrong)} of {len(frames)} functions differ)"
            )

    def _fits(self, frame: Frame) -> bool:
        """Return whether a function is as long as kallsyms says: the next one begins right after
        it."""
        size = frame.size or 0
        ends = [one.address + size for one in self._prog.symbols(frame.symbol or "")]
        return any(self._begins(end) for end in ends)

    def _begins(self, address: int) -> bool:
        try:
            return bool(self._prog.symbol(address).address == address)
        except LookupError:
            return False


def _without_addresses(splat: Splat) -> Splat:
    return replace(splat, trace=tuple(replace(one, address=None) for one in splat.trace))
