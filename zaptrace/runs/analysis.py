"""From what a guest left to its verdict: events, audit, splats, explanation, report.

Each step reads its file where the run has it already, and makes it where not:
`repro` and `explain` are the same way through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import drgn

from zaptrace.audit import audit
from zaptrace.capture.reader import read as read_capture
from zaptrace.capture.writer import write as write_capture
from zaptrace.explain import Evidence, explain
from zaptrace.memory.ftrace import read_trace
from zaptrace.memory.opening import open_vmcore
from zaptrace.memory.registers import cpu_registers
from zaptrace.memory.resolve import code_site
from zaptrace.memory.sharpen import addressed, sharpened
from zaptrace.memory.stop import stop_events
from zaptrace.model.events import Events, followed_by
from zaptrace.model.findings import AuditResult, FindingClass
from zaptrace.model.plan import ProbePlan
from zaptrace.model.progress import Listener, step
from zaptrace.model.splats import Splat
from zaptrace.model.verdict import CodeSite, Verdict
from zaptrace.report import RunInfo, render, summary
from zaptrace.report.excerpt import kernels_words
from zaptrace.runs.debuginfo import debug_info
from zaptrace.runs.folder import RunFacts, RunFolder
from zaptrace.splat import parse


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to.

    Attributes:
        document: what `--json` prints.
        report: the text report.
        suspicious: a page or an mm was reported, refused or found to disagree,
            whether a rule explains it or not.
    """

    verdict: Verdict
    document: dict[str, Any]
    report: str
    suspicious: bool


def analyse(folder: RunFolder, facts: RunFacts, listener: Listener) -> Result:
    """Explain a run from whatever it holds; adds to `facts.timing`, writes verdict and report.

    Raises:
        BadInput: a file of the run is damaged, or belongs to another kernel.
    """
    prog = _open(folder, facts, listener)
    events = _events(folder, prog, facts, listener)
    found = _audit(folder, prog, facts, listener)
    with step("explain", "Explain", listener, facts.timing) as current:
        console = folder.console.read_bytes() if folder.console.exists() else b""
        splats = parse(console)
        ended = facts.ended or "interrupted"
        names = debug_info(prog, facts, events)
        told = addressed(names, splats) if names else splats
        verdict = explain(Evidence(events, told, found, _resolver(names), ended))
        verdict = sharpened(names, verdict) if names else verdict
        current.note = verdict.kind.value
    info = RunInfo(
        run=str(folder.path),
        arch=facts.arch,
        kernel_release=_release(found, events, splats),
        build_id=events.meta.get("build_id") if events else None,
        machine=facts.machine,
        command=facts.command,
        qemu=facts.qemu,
        ended=ended,
        unseen=_unseen(facts, events),
        splat=kernels_words(console, splats, verdict.kind, verdict.pfn),
        splats=len(splats),
        events=len(events.records) if events else 0,
        lost=events.lost if events else 0,
        findings=_bugs(found),
        timing=facts.timing,
    )
    reported = any(splat.kind.startswith("bad_") for splat in splats)
    suspicious = reported or info.findings > 0 or ended == "bad_page"
    result = Result(verdict, summary(verdict, info), render(verdict, info), suspicious)
    folder.save_verdict(result.document, result.report)
    return result


def _release(
    found: AuditResult | None, events: Events | None, splats: Sequence[Splat]
) -> str | None:
    """The kernel's release from whichever evidence names it."""
    named = [found.kernel_release if found else None]
    named += [events.meta.get("release") if events else None]
    named += [splat.kernel_release for splat in splats]
    return next((release for release in named if release), None)


def _unseen(facts: RunFacts, events: Events | None) -> tuple[str, ...]:
    """What the recording of the events lacks, a sentence each."""
    meta = events.meta if events else {}
    missing = [
        f"The kernel did not set up the probe {name}." for name in meta.get("unavailable", ())
    ]
    return (*facts.unrecorded, *missing, *meta.get("damage", ()))


def _bugs(found: AuditResult | None) -> int:
    """Findings that are bugs; what is in flight is none."""
    if found is None:
        return 0
    return sum(finding.cls is not FindingClass.IN_FLIGHT for finding in found.findings)


def _open(folder: RunFolder, facts: RunFacts, listener: Listener) -> drgn.Program | None:
    """The dump, opened; None when the run has none."""
    if not folder.vmcore.exists():
        return None
    with step("open", "Open the vmcore", listener, facts.timing):
        return open_vmcore(folder.vmcore, Path(facts.vmlinux))


def _events(
    folder: RunFolder, prog: drgn.Program | None, facts: RunFacts, listener: Listener
) -> Events | None:
    """The capture; out of the dump's ring buffer when it is not yet on disk."""
    if folder.capture.exists():
        return read_capture(folder.capture)
    plan = folder.plan()
    if prog is None or plan is None:
        return None
    with step("events", "Read the events out of the dump", listener, facts.timing) as current:
        events = _recorded(prog, folder.vmcore, plan)
        write_capture(folder.capture, events)
        current.note = f"{len(events.records)} events, {events.lost} lost"
    return events


def _recorded(prog: drgn.Program, core: Path, plan: ProbePlan) -> Events:
    return followed_by(read_trace(prog, plan), stop_events(prog, core, plan))


def _audit(
    folder: RunFolder, prog: drgn.Program | None, facts: RunFacts, listener: Listener
) -> AuditResult | None:
    """The audit; of the dump when it is not yet on disk."""
    found = folder.audit()
    if found is not None or prog is None:
        return found
    title = "Audit every page table against every counter"
    with step("audit", title, listener, facts.timing) as current:
        found = audit(prog, cpus=cpu_registers(folder.vmcore))
        folder.save_audit(found)
        current.note = f"{found.ptes} PTEs, {len(found.findings)} findings"
    return found


def _resolver(prog: drgn.Program | None) -> Callable[[int], CodeSite | None]:
    """Return address -> code site; None for everything without debug info."""
    if prog is None:
        return lambda _address: None
    opened = prog
    return lambda address: code_site(opened, address)
