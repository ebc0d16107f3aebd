"""From what a guest left to its verdict: events, audit, splats, explanation, report.

Each step reads its file where the run has it already, and makes it where not:
`repro` and `explain` are the same way through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import drgn

from vm.labsource import kept_source
from zaptrace.explain import Evidence, explain
from zaptrace.kernel import page_checks
from zaptrace.memory.page_checks import pages_are_checked
from zaptrace.model.errors import ZaptraceError
from zaptrace.model.events import Events, Kind
from zaptrace.model.findings import AuditResult, FindingClass
from zaptrace.model.progress import Listener, step
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import Verdict
from zaptrace.report.document import summary
from zaptrace.report.run_info import RunInfo
from zaptrace.report.source_excerpt import Sources, read_sources
from zaptrace.report.splat_excerpt import kernels_words
from zaptrace.report.text import render
from zaptrace.runs import consistency
from zaptrace.runs.evidence_loader import EvidenceLoader, resolver
from zaptrace.runs.folder import RunFacts, RunFolder
from zaptrace.runs.keep_lives import MOST_PAGES, keep_lives, suspects
from zaptrace.runs.life_recorder import LifeRecorder
from zaptrace.runs.run_life import RunLife, kept_lives, wrong_entries
from zaptrace.runs.source_lines import addressed, sharpened
from zaptrace.runs.stops import EVENTS
from zaptrace.runs.whole_console import whole_console
from zaptrace.splat import parse_console
from zaptrace.splat.kinds import from_mm
from zaptrace.splat.wild_pointers import wild_pointers
from zaptrace.triage import Console, triage


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to.

    Attributes:
        document: what `--json` prints.
        report: the text report.
        suspicious: a page or an mm was reported, refused or found to disagree,
            whether a rule explains it or not.
        watched: names of the events that were recorded.
        complete: and none of them is missing.
        evidence: what the verdict was made from.
    """

    verdict: Verdict
    document: dict[str, Any]
    report: str
    suspicious: bool
    watched: frozenset[str] = frozenset()
    complete: bool = False
    evidence: Evidence = field(default_factory=Evidence)


def analyse(
    folder: RunFolder,
    facts: RunFacts,
    listener: Listener,
    recorder: LifeRecorder | None = None,
    keep_life: bool = False,
) -> Result:
    """Explain a run from whatever it holds; adds to `facts.timing`, writes verdict and report.

    Args:
        recorder: what has just recorded pages' lives, of which the run keeps the suspects'.
        keep_life: keep those of all pages.

    Raises:
        BadInput: a file of the run is damaged, or belongs to another kernel or boot.
    """
    loader = EvidenceLoader(folder, facts, listener)
    events, found = loader.events(), loader.audit()
    loader.log()
    if recorder is not None:
        names = loader.debug_info(events)
        pfns = None if keep_life else suspects(events, found, parse_console(whole_console(folder)))
        wrong = found.findings[:MOST_PAGES] if found is not None else ()
        entries = [at for finding in wrong for at in wrong_entries(finding)]
        wild = wild_pointers(whole_console(folder))
        keep_lives(folder, facts, recorder, loader.prog, names, pfns, listener, entries, wild)
        folder.save_facts(facts)
    with step("explain", "Explain", listener, facts.timing) as current:
        console = whole_console(folder)
        splats = parse_console(console)
        names = loader.debug_info(events)
        lives, unread = _lives(folder, names)
        boot = lives.life.boot if lives else None
        pieces = consistency.Pieces(
            folder, facts, events, found, splats, console, loader.identity(), boot
        )
        _note_a_missing_stop(pieces)
        consistency.check(pieces)
        evidence = _evidence(pieces, names, lives)
        verdict = explain(evidence)
        verdict = sharpened(names, verdict) if names else verdict
        current.note = verdict.kind.value
    info = _info(pieces, verdict, (*unread, *loader.unopened), _unchecked(loader.prog))
    reported = any(from_mm(splat) for splat in splats)
    suspicious = reported or info.findings > 0 or evidence.ended in EVENTS
    result = Result(
        verdict,
        {**summary(verdict, info), "suspicious": suspicious},
        render(verdict, info, _sources(facts, verdict)),
        suspicious,
        evidence.watched,
        evidence.complete,
        evidence,
    )
    folder.save_verdict(result.document, result.report)
    return result


def _evidence(
    pieces: consistency.Pieces, names: drgn.Program | None, lives: RunLife | None
) -> Evidence:
    """Return what the rules judge: the pieces of a run, with addresses that `names` resolves."""
    return Evidence(
        pieces.events,
        addressed(names, pieces.splats) if names else pieces.splats,
        pieces.found,
        resolver(names, pieces.events),
        _ended(pieces.facts),
        # Runs of before `life_unrecorded` say of lives there, too.
        unrecorded=tuple(
            one for one in pieces.facts.unrecorded if not one.startswith("Pages' lives")
        ),
        console=bool(pieces.console.strip()),
        lives=lives,
    )


def _info(
    pieces: consistency.Pieces,
    verdict: Verdict,
    unread: tuple[str, ...],
    unchecked: tuple[str, ...],
) -> RunInfo:
    """Return what a report says of the run beside its verdict.

    Args:
        unread: files of the run that could not be read, a sentence each.
        unchecked: that the kernel does not check pages, where that is so.
    """
    facts, events = pieces.facts, pieces.events
    return RunInfo(
        run=str(pieces.folder.path),
        arch=facts.arch,
        kernel_release=_release(pieces.found, events, pieces.splats),
        build_id=events.meta.get("build_id") if events else None,
        machine=facts.machine,
        command=facts.command,
        qemu=facts.qemu,
        ended=_ended(facts),
        unseen=(
            *_unseen(facts, events),
            *_not_printed(pieces.folder),
            *unread,
            *_half(facts, pieces.folder),
            *unchecked,
        ),
        splat=kernels_words(pieces.console, pieces.splats, verdict.kind, verdict.pfn),
        splats=len(pieces.splats),
        events=len(events.records) if events else 0,
        lost=events.lost if events else 0,
        findings=_bugs(pieces.found),
        timing=facts.timing,
        triage=triage(Console(tuple(pieces.splats))),
    )


def _ended(facts: RunFacts) -> str:
    return facts.ended or "interrupted"


def _sources(facts: RunFacts, verdict: Verdict) -> Sources | None:
    """Return the lines of the verdict's sites, where a tree is available that costs nothing to
    read."""
    own = Path(facts.kernel_tree) if facts.kernel_tree else None
    tree = own if own and own.is_dir() else kept_source(Path(facts.vmlinux))
    return read_sources(tree, verdict.sites) if tree and verdict.sites else None


def _console(folder: RunFolder) -> bytes:
    return folder.console.read_bytes() if folder.console.exists() else b""


def _release(
    found: AuditResult | None, events: Events | None, splats: Sequence[Splat]
) -> str | None:
    """Return the kernel's release from whichever evidence names it."""
    named = [found.kernel_release if found else None]
    named += [events.meta.get("release") if events else None]
    named += [splat.kernel_release for splat in splats]
    return next((release for release in named if release), None)


def _lives(folder: RunFolder, names: drgn.Program | None) -> tuple[RunLife | None, tuple[str, ...]]:
    """Return the lives that the run kept; of a file that is damaged, what is wrong with it."""
    try:
        return kept_lives(folder, names), ()
    except ZaptraceError as error:
        return None, (f"Pages' lives were not read: {error}.",)


def _unseen(facts: RunFacts, events: Events | None) -> tuple[str, ...]:
    """Return what the recording of the events lacks, a sentence each."""
    meta = events.meta if events else {}
    missing = [
        f"The kernel did not set up the probe {name}." for name in meta.get("unavailable", ())
    ]
    said = [one for one in (facts.hung, facts.not_stopped) if one]
    said += [*facts.unrecorded, *facts.life_unrecorded]
    return (*said, *missing, *meta.get("damage", ()))


def _not_printed(folder: RunFolder) -> tuple[str, ...]:
    """Return that the console lacks the end of the kernel's log, where it does."""
    if not folder.kernel_log.exists():
        return ()
    lines = folder.kernel_log.read_bytes().count(b"\n")
    lacks = f"The console lacks the last lines of the kernel's log ({lines})"
    return (f"{lacks}: they are the dump's, in kernel.log.",)


def _note_a_missing_stop(pieces: consistency.Pieces) -> None:
    """Say in run.json that bad_page() ran and the guest was not stopped at it."""
    facts, events = pieces.facts, pieces.events
    if facts.stop_at not in EVENTS or facts.ended in (None, *EVENTS):
        return
    ran = len(events.of_kind(Kind.BAD_PAGE)) if events else 0
    ran = ran or sum(splat.kind == "bad_page_state" for splat in pieces.splats)
    if not ran:
        return
    why = "its breakpoint was not hit"
    if facts.kernel_offset is None:
        why = "where the kernel lies in memory was not found out"
    times = "once" if ran == 1 else f"{ran} times"
    facts.not_stopped = (
        f"bad_page() ran {times}, and the guest was not stopped there ({why}): its memory "
        "shows a later moment."
    )
    pieces.folder.save_facts(facts)


def _unchecked(prog: drgn.Program | None) -> tuple[str, ...]:
    """Return a warning about a kernel that does not check pages: a silent console then means
    nothing."""
    if prog is None or pages_are_checked(prog):
        return ()
    return (f"{page_checks.OFF} To have them reported, {page_checks.FIX}.",)


def _half(facts: RunFacts, folder: RunFolder) -> tuple[str, ...]:
    """Return what a run that was cut short, or that lost files since, does not have."""
    parts = {"events": folder.capture, "console": folder.console}
    missing = [name for name, path in parts.items() if not path.exists()]
    if not (folder.vmcore.exists() or folder.audit_file.exists()):
        missing.append("dump")
    said = [f"The run has no {' and no '.join(missing)}."] if missing else []
    if facts.ended is None:
        said.append("The run was cut short: it is explained as far as it got.")
    return tuple(said)


def _bugs(found: AuditResult | None) -> int:
    """Return how many findings are bugs; in-flight ones are not."""
    if found is None:
        return 0
    return sum(finding.cls is not FindingClass.IN_FLIGHT for finding in found.findings)
