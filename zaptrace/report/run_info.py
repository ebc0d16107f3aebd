"""What a report says of the run beside its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zaptrace.model.clues import Clue


@dataclass(frozen=True, slots=True)
class RunInfo:
    """Where and how the run was made; unknown is None or empty.

    Attributes:
        run: the run's folder.
        arch, kernel_release, build_id: the guest's kernel.
        machine: the machine in a few words ("s390-ccw-virtio, 512M, 2 CPUs, TCG").
        command: the zaptrace command that makes the run again.
        qemu: QEMU's own command line, for those without zaptrace.
        ended: how the run ended (`bad_page`, `panic`, `oops`, `hang`, `exit`, ...).
        splat: lines of the kernel's own report, without prefixes (see `excerpt`).
        unseen: what was not recorded and why, a sentence each.
        splats, events, lost, findings: how many there are.
        timing: step -> seconds.
        triage: what stands out in the console's reports.
        logs: where several logs were explained, one phrase on each.
    """

    run: str
    arch: str | None = None
    kernel_release: str | None = None
    build_id: str | None = None
    machine: str = ""
    command: str = ""
    qemu: str = ""
    ended: str = ""
    splat: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    splats: int = 0
    events: int = 0
    lost: int = 0
    findings: int = 0
    timing: Mapping[str, float] = field(default_factory=dict)
    triage: tuple[Clue, ...] = ()
    logs: tuple[str, ...] = ()
