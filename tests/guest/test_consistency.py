"""The pieces of real boots: each names its boot, and those of two boots are distinguished."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.guest.conftest import Boot
from zaptrace.capture.reader import read
from zaptrace.memory.open import open_program
from zaptrace.model import boot_ids
from zaptrace.model.errors import BadInput
from zaptrace.model.progress import ignore
from zaptrace.runs.evidence_loader import identity_of
from zaptrace.runs.explain_run import analyse
from zaptrace.runs.folder import RunFolder

pytestmark = pytest.mark.guest
SMALL = ("run.json", "plan.json", "console.log", "capture.zap", "life.zap", "audit.json")


def part_of(boot: Boot, folder: Path) -> RunFolder:
    """A copy of a run; its dump is a link."""
    folder.mkdir()
    for name in SMALL:
        shutil.copyfile(boot.path / name, folder / name)
    (folder / "vmcore").symlink_to(boot.vmcore)
    return RunFolder(folder)


def test_each_piece_of_a_boot_says_which_it_is(founding: Boot, clean_exit: Boot) -> None:
    said = [RunFolder(boot.path).facts().boot_id for boot in (founding, clean_exit)]
    assert None not in said and said[0] != said[1]
    for boot, own in zip((founding, clean_exit), said, strict=True):
        run = RunFolder(boot.path)
        assert boot_ids.on_console(boot.console.read_bytes()) == (own,)
        assert read(boot.capture).meta["boot_id"] == own
        dump = identity_of(open_program(boot.vmcore, boot.vmlinux), boot.vmcore)
        assert (dump.boot_id, dump.build_id) == (own, boot.plan.build_id)
        assert run.audited() == dump
        assert "zaptrace.boot" not in run.report.read_text()


@pytest.mark.parametrize("name", ["console.log", "capture.zap", "vmcore", "life.zap"])
def test_a_piece_of_another_boot_of_the_same_kernel_is_refused(
    founding: Boot, clean_exit: Boot, tmp_path: Path, name: str
) -> None:
    run = part_of(founding, tmp_path / "run")
    (run.path / name).unlink()
    (run.path / name).symlink_to(clean_exit.path / name)
    with pytest.raises(BadInput, match="do not belong together: boot id"):
        analyse(run, run.facts(), ignore)


def test_an_audit_of_another_dump_is_made_anew(founding: Boot, tmp_path: Path) -> None:
    run = part_of(founding, tmp_path / "run")
    old = json.loads(run.audit_file.read_text())
    stale = {**old, "findings": [], "vmcore": {**old["vmcore"], "mtime_ns": 7}}
    run.audit_file.write_text(json.dumps(stale))
    verdict = analyse(run, run.facts(), ignore).verdict
    assert verdict == founding.result.verdict
    made = run.audit()
    assert made is not None and len(made.findings) == len(old["findings"])
