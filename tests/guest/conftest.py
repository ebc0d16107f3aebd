"""Real repro boots that the guest tests share, on each architecture: with the founding bug, and
without."""

from __future__ import annotations

import dataclasses
import functools
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.guest import holders, lab, shared_runs
from tests.guest.holders import Held
from tests.guest.lab import Lab
from tests.guest.lost import (  # noqa: F401  pytest finds its hooks here
    pytest_report_teststatus,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)
from tests.guest.shared_runs import SharedRuns
from zaptrace.arch import ARCHES
from zaptrace.audit import audit
from zaptrace.audit.leaks import MAY_BE_HELD
from zaptrace.memory.open import open_program
from zaptrace.model import progress
from zaptrace.model.plan import ProbePlan
from zaptrace.runs.explain_run import Result
from zaptrace.runs.folder import RunFolder
from zaptrace.runs.repro import Request, repro


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BySharedGuests:
    """Several processes, as `make test` has them, share no guest."""
    config.option.loadscopereorder = False
    return BySharedGuests(config, log)


LONGEST_FIRST = (
    # Else one process is left with one of these at the end.
    *("test_scoreboard.py", "test_live.py", "test_live_filters.py", "test_live_losses.py"),
    *("test_audit_running.py", "test_audit.py", "test_commands.py", "test_cluster.py"),
    *("test_life.py", "test_repro.py", "test_stock.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long."""
    order = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the boots that several tests look at."""
    gc.enable()  # what these tests leave is small in number, and as big as a dump
    shared_runs.configure(config)


class BySharedGuests(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed
    """The tests of an architecture that look at the same guest run in one process, and those of
    each other file.

    xdist's own `--dist loadgroup` does not see its groups with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        of_arch = re.search(rf"\[({'|'.join(ARCHES)})[-\]]", nodeid)
        return f"{of_arch[1]} {_shared_guests(Path(file).name) or file}" if of_arch else file


@functools.cache
def _shared_guests(file: str) -> str | None:
    """Which guests that live as long as their process a file's tests have."""
    text = (Path(__file__).parent / file).read_text()
    if re.search(r"\b(?:founding|founding_exit|clean_exit)\b", text):
        return "boots"
    return next((name for name in ("live_lab", "held: Held") if name in text), None)


@dataclass(frozen=True)
class Boot:
    """A finished run and its files."""

    arch: str
    result: Result
    path: Path
    vmcore: Path
    vmlinux: Path
    console: Path
    capture: Path
    plan: ProbePlan


BOOTS = 6
GUEST_SECONDS = 300.0
"""A busy machine emulates slowly: a guest is lost when it hangs, not when it is waited for."""


def boot(request: Request) -> Boot:
    request = dataclasses.replace(request, timeout=max(request.timeout, GUEST_SECONDS))
    folder = request.folder
    assert folder is not None
    result = repro(request, progress.ignore)
    run = RunFolder(folder)
    plan = run.plan()
    assert plan is not None
    vmlinux = Path(run.facts().vmlinux)
    return Boot(request.arch, result, folder, run.vmcore, vmlinux, run.console, run.capture, plan)


@pytest.fixture(scope="session", params=sorted(ARCHES))
def arch(request: pytest.FixtureRequest) -> str:
    """Every architecture that has a lab kernel."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def founding(arch: str, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """zapfault=batch, stopped at the first instruction of bad_page; only its CPU is at work there.

    Where the other one is in page tables, too, more is true of the page than the tests ask: it may
    have been mapped in either mm.  And a page that init, say, has just taken for a system call is
    left open by the audit, once, and is a finding where every look at the dump agrees.
    """
    others = []
    for _ in range(BOOTS):
        found = boot(Request(arch, folder=tmp_path_factory.mktemp("founding") / "run"))
        result = audit(open_program(found.vmcore, found.vmlinux)).result()
        held = [one.what for one in result.unseen if one.what.startswith(MAY_BE_HELD)]
        if result.details["mms_in_flight"] == 1 and not held:
            return found
        others.append(held or "two mms in flight")
    pytest.fail(f"in {BOOTS} boots the other CPU was at work, too: {others}")


@pytest.fixture(scope="session")
def clean_exit(arch: str, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """zapfault=none, run to the guest's power-off."""
    folder = tmp_path_factory.mktemp("clean") / "run"
    return boot(Request(arch, fault="none", folder=folder))


@pytest.fixture(scope="session")
def founding_exit(arch: str, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    """zapfault=batch, let run to the guest's power-off: every report, every event."""
    folder = tmp_path_factory.mktemp("exit") / "run"
    return boot(Request(arch, stop_at="exit", folder=folder))


@pytest.fixture(scope="session")
def shared() -> SharedRuns:
    """Boots of single faults, stopped at the bug, that several tests look at."""
    return SharedRuns()


@pytest.fixture(scope="session")
def live_lab(arch: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A live guest without fault."""
    with lab.booted(arch, tmp_path_factory.mktemp(f"live-{arch}")) as guest:
        yield guest


@pytest.fixture(scope="session", params=["x86_64", "s390x"])
def held(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Held:
    """A guest that holds pages in every way, says which, and sleeps."""
    return holders.boot(request.param, tmp_path_factory.mktemp(f"holders-{request.param}"), "")
