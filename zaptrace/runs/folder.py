"""The run folder: everything that one repro boot leaves.

    run.json      how the guest was booted, how it ended, how long each step took
    plan.json     the probe plan
    image         the kernel that was booted
    initrd        its root file system, with the probes after it
    console.log   the guest's serial console
    kernel.log    what the kernel had logged when it was stopped, and the console did not get
    qemu.log      QEMU's own words
    vmcore        the stopped guest's memory (0600)
    vmcore.later  what came after the stop, until the events are read out of it
    capture.zap   the events
    life.zap      every store to the struct pages of suspects
    audit.json    what the audit found
    verdict.json  what `repro --json` printed
    report.txt    the report

Each file is there whole or not at all; a run that was cut short has fewer.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zaptrace.model.errors import BadInput
from zaptrace.model.findings import AuditResult
from zaptrace.model.paths import state_home, write_whole
from zaptrace.model.plan import ProbePlan
from zaptrace.runs.dump_identity import Identity


@dataclass(slots=True)
class RunFacts:
    """What stands in run.json.

    Attributes:
        kernel, vmlinux, initrd: the files that were booted.
        fault: `zapfault=` of a lab kernel, None with the user's own kernel.
        command: the zaptrace command that makes such a run again.
        qemu: the QEMU command line that boots the same guest by hand, typed in
            the run folder.
        machine: the guest in a few words, with its accelerator and why it is that one.
        unrecorded: what the probes could not be made to record, a sentence each.
        ended: "bad_page", "panic", "oops", "hang", "exit", "timeout" (the natural end of a guest
            that would run for ever) or "lost" (QEMU died); None while it runs.
        hung: of what ended "hang": what it did not do, and its console's last line.
        after: how it ended after the stop at "bad_page" (see `guest.End`).
        kernel_offset: how far above its link-time addresses the kernel ran, in bytes modulo
            2**64; None when that was not measured.
        stop_at: what the guest was to be stopped at, as `--stop-at` takes it; None when it is
            not known.
        not_stopped: why there is no stop at bad_page() though it ran, a sentence; else None.
        timing: step -> seconds.
        boot_id: that of the guest's command line; None in a run of an older zaptrace.
        kernel_tree: the user's tree that the kernel was built of.
        life: what was recorded of pages' lives (`life_keeping.keep_lives`); None for nothing.
        life_unrecorded: what was not, and why, a sentence each.  It is apart from `unrecorded`:
            no event is missing for it.
    """

    arch: str
    kernel: str
    vmlinux: str
    initrd: str
    fault: str | None
    command: str
    machine: str = ""
    qemu: str = ""
    unrecorded: list[str] = field(default_factory=list)
    ended: str | None = None
    after: str | None = None
    timing: dict[str, float] = field(default_factory=dict)
    boot_id: str | None = None
    kernel_tree: str | None = None
    life: dict[str, int | None] | None = None
    kernel_offset: int | None = None
    stop_at: str | None = None
    not_stopped: str | None = None
    hung: str | None = None
    life_unrecorded: list[str] = field(default_factory=list)


class RunFolder:
    """One run's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, arch: str, at: Path | None = None) -> RunFolder:
        """Return a new, private folder: `at`, or one named by architecture and time.

        Raises:
            BadInput: `at` is there already and not empty.
        """
        if at is not None:
            at.mkdir(mode=0o700, parents=True, exist_ok=True)
            if any(at.iterdir()):
                raise BadInput(f"{at} is not empty: a run keeps to a folder of its own")
            return cls(at)
        base = state_home() / "runs"
        base.mkdir(mode=0o700, exist_ok=True)
        name = f"{arch}-{time.strftime('%Y%m%d-%H%M%S')}"
        for count in range(1000):
            path = base / (f"{name}-{count}" if count else name)
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return cls(path)
        raise BadInput(f"{base} has a thousand runs of this second")

    @classmethod
    def open(cls, path: Path | None) -> RunFolder:
        """Return an existing run: `path`, or the newest one.

        Raises:
            BadInput: it is not a run folder, or there is no run yet.
        """
        if path is None:
            runs = all_runs()
            if not runs:
                raise BadInput("there is no run yet", "zaptrace repro s390x")
            return runs[-1]
        if not (path / "run.json").is_file():
            raise BadInput(f"{path} is not a run folder: it has no run.json", "zaptrace vm ls")
        return cls(path)

    @property
    def image(self) -> Path:
        """The kernel that was booted."""
        return self.path / "image"

    @property
    def initrd(self) -> Path:
        """Its root file system, with the probes after it."""
        return self.path / "initrd"

    @property
    def console(self) -> Path:
        """The guest's serial console."""
        return self.path / "console.log"

    @property
    def kernel_log(self) -> Path:
        """The end of the kernel's log that the console lacks."""
        return self.path / "kernel.log"

    @property
    def qemu_log(self) -> Path:
        """QEMU's own words."""
        return self.path / "qemu.log"

    @property
    def vmcore(self) -> Path:
        """The stopped guest's memory."""
        return self.path / "vmcore"

    @property
    def later(self) -> Path:
        """The memory of the guest that was resumed after the stop; read once, then removed."""
        return self.path / "vmcore.later"

    @property
    def capture(self) -> Path:
        """The events."""
        return self.path / "capture.zap"

    @property
    def life(self) -> Path:
        """Every store to the struct pages of suspects."""
        return self.path / "life.zap"

    @property
    def audit_file(self) -> Path:
        """What the audit found."""
        return self.path / "audit.json"

    @property
    def report(self) -> Path:
        """The text report."""
        return self.path / "report.txt"

    def save_facts(self, facts: RunFacts) -> None:
        """Write run.json."""
        self._save("run.json", dataclasses.asdict(facts))

    def facts(self) -> RunFacts:
        """Read run.json.

        Raises:
            BadInput: it is not what `save_facts` wrote.
        """
        data = self._load("run.json")
        try:
            return RunFacts(**data)
        except TypeError as error:
            raise BadInput(f"{self.path / 'run.json'} is not a run's: {error}") from None

    def save_plan(self, plan: ProbePlan) -> None:
        """Write plan.json."""
        self._save("plan.json", plan.to_json())

    def plan(self) -> ProbePlan | None:
        """Read plan.json; None when the run has none."""
        try:
            return ProbePlan.from_json(self._load("plan.json"))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError) as error:
            raise BadInput(f"{self.path / 'plan.json'} is not a probe plan: {error}") from None

    def save_audit(self, audit: AuditResult, of: Identity | None = None) -> None:
        """Write audit.json, with the dump that it belongs to."""
        self._save("audit.json", {**audit.to_json(), "vmcore": of.to_json() if of else None})

    def audited(self) -> Identity | None:
        """Return the dump that audit.json belongs to; None when it does not say."""
        try:
            data = self._load("audit.json")
        except FileNotFoundError:
            return None
        return Identity.from_json(data.get("vmcore")) if isinstance(data, dict) else None

    def audit(self) -> AuditResult | None:
        """Read audit.json; None when the run has none."""
        try:
            return AuditResult.from_json(self._load("audit.json"))
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{self.path / 'audit.json'} is not an audit: {error}") from None

    def save_verdict(self, document: dict[str, Any], report: str) -> None:
        """Write verdict.json and report.txt."""
        self._save("verdict.json", document)
        write_whole(self.report, report.encode())

    def verdict(self) -> dict[str, Any] | None:
        """Return what verdict.json says; None when the run did not get that far."""
        try:
            document: dict[str, Any] = self._load("verdict.json")
        except FileNotFoundError:
            return None
        return document

    def _save(self, name: str, data: dict[str, Any]) -> None:
        write_whole(self.path / name, (json.dumps(data, indent=1) + "\n").encode())

    def _load(self, name: str) -> Any:
        path = self.path / name
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise BadInput(f"{path} is not JSON: {error}") from None


def all_runs() -> list[RunFolder]:
    """Every run in the state folder, oldest first."""
    found = [path.parent for path in (state_home() / "runs").glob("*/run.json")]
    return [RunFolder(path) for path in sorted(found, key=lambda path: path.name.partition("-")[2])]
