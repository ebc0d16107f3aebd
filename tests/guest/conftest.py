"""Real repro boots that the guest tests share: one with the founding bug, one without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from zaptrace.model import progress
from zaptrace.model.plan import ProbePlan
from zaptrace.runs.analysis import Result
from zaptrace.runs.folder import RunFolder
from zaptrace.runs.repro import Request, repro


@dataclass(frozen=True)
class Boot:
    """A finished run and its files."""

    result: Result
    path: Path
    vmcore: Path
    vmlinux: Path
    console: Path
    capture: Path
    plan: ProbePlan


def boot(folder: Path, **request: object) -> Boot:
    result = repro(Request(arch="s390x", folder=folder, **request), progress.ignore)  # type: ignore[arg-type]  # the caller's words
    run = RunFolder(folder)
    plan = run.plan()
    assert plan is not None
    vmlinux = Path(run.facts().vmlinux)
    return Boot(result, folder, run.vmcore, vmlinux, run.console, run.capture, plan)


@pytest.fixture(scope="session")
def founding(tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """zapfault=batch, stopped at the first instruction of bad_page."""
    return boot(tmp_path_factory.mktemp("founding") / "run")


@pytest.fixture(scope="session")
def clean_exit(tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """zapfault=none, run to the guest's power-off."""
    return boot(tmp_path_factory.mktemp("clean") / "run", fault="none")


@pytest.fixture(scope="session")
def founding_exit(tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """zapfault=batch, let run to the guest's power-off: every report, every event."""
    return boot(tmp_path_factory.mktemp("exit") / "run", stop_at="exit")
