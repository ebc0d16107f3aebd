"""Tries that start from one saved guest: each is a boot of its own, and no two run alike."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from drgn.helpers.linux.pid import find_task

from tests.guest.lab import guests_of
from zaptrace.capture.reader import read
from zaptrace.memory.open import open_program
from zaptrace.model import boot_ids
from zaptrace.model.errors import BadInput
from zaptrace.model.progress import ignore
from zaptrace.runs.explain_run import analyse
from zaptrace.runs.folder import RunFolder

pytestmark = pytest.mark.guest
TRIES = 3


@pytest.fixture(scope="module")
def tries(arch: str, tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    runs = tmp_path_factory.mktemp("tries") / "runs"
    argv = [sys.executable, "-m", "zaptrace", "repro", arch, "--json", "--run", str(runs)]
    argv += ["--repeat", str(TRIES), "--jobs", "2", "--from", "user-space", "--timeout", "300"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=900)
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    bug = "freed_before_rmap_removed in try_zap_anon_pte_range()"
    assert (found["boots"], found["lost"], found["bugs"]) == (TRIES, 0, {bug: TRIES}), found
    assert not guests_of(runs)
    return [RunFolder(Path(one["run"])) for one in found["runs"]]


def test_each_try_is_a_boot_of_its_own(tries: list[RunFolder]) -> None:
    ids = [run.facts().boot_id for run in tries]
    assert len({one and one.partition("/")[0] for one in ids}) == 1
    assert len({*ids}) == TRIES and all(one and "/" in one for one in ids)
    for run, own in zip(tries, ids, strict=True):
        assert boot_ids.on_console(run.console.read_bytes()) == (own,)
        assert read(run.capture).meta["boot_id"] == own
        audited = run.audited()
        assert audited is not None and audited.boot_id == own


@pytest.mark.parametrize("name", ["console.log", "capture.zap", "vmcore"])
def test_a_piece_of_another_try_is_refused(
    tries: list[RunFolder], tmp_path: Path, name: str
) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(tries[0].path, run.path)
    (run.path / name).unlink()
    (run.path / name).symlink_to(tries[1].path / name)
    with pytest.raises(BadInput, match="do not belong together: boot id"):
        analyse(run, run.facts(), ignore)


def test_no_two_run_alike(tries: list[RunFolder]) -> None:
    """The kernel waits a random time before the first program, whose stack lies elsewhere."""
    events = [read(run.capture).records for run in tries]
    clocks = [records["clock"][records["pid"] > 1][0] for records in events]
    assert len({*clocks}) == TRIES
    stacks = []
    for run in tries:
        init = find_task(open_program(run.vmcore, Path(run.facts().vmlinux)), 1)
        stacks.append(int(init.mm.start_stack))
    assert len({*stacks}) == TRIES
