"""scripts/setup's link for sudo: whose place it takes, and whose not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[3] / "scripts" / "setup"


def link(folder: Path, checkout: Path) -> str:
    """Run that step alone in a checkout; what it says."""
    (step,) = re.findall(r"^command_for_sudo\(\) \{\n.*?^\}\n", SETUP.read_text(), re.M | re.S)
    place = str(folder / "zaptrace")
    script = 'set -euo pipefail\nsay() { echo "$*"; }\nas_root() { "$@"; }\n' + step
    script = script.replace("/usr/local/bin/zaptrace", place) + "command_for_sudo\n"
    done = subprocess.run(
        ["bash", "-c", script], check=True, capture_output=True, text=True, cwd=checkout
    )
    return done.stdout + done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return made(tmp_path / "mine")


def made(checkout: Path) -> Path:
    program = checkout / ".venv/bin/zaptrace"
    program.parent.mkdir(parents=True)
    program.touch()
    return checkout


def test_it_is_made_once(tmp_path: Path, checkout: Path) -> None:
    assert "for sudo" in link(tmp_path, checkout)
    assert (tmp_path / "zaptrace").readlink() == checkout / ".venv/bin/zaptrace"
    assert link(tmp_path, checkout) == ""


def test_another_checkouts_stays_while_that_is_there(tmp_path: Path, checkout: Path) -> None:
    theirs = made(tmp_path / "theirs") / ".venv/bin/zaptrace"
    (tmp_path / "zaptrace").symlink_to(theirs)
    said = link(tmp_path, checkout)
    assert (tmp_path / "zaptrace").readlink() == theirs
    assert f"sudo {checkout}/.venv/bin/zaptrace live" in said
    assert f"sudo ln -sfn {checkout}/.venv/bin/zaptrace {tmp_path}/zaptrace" in said
    theirs.unlink()
    link(tmp_path, checkout)
    assert (tmp_path / "zaptrace").readlink() == checkout / ".venv/bin/zaptrace"


def test_a_file_that_is_not_ours_stays(tmp_path: Path, checkout: Path) -> None:
    (tmp_path / "zaptrace").write_text("somebody's")
    assert "not ours and stays" in link(tmp_path, checkout)
    assert (tmp_path / "zaptrace").read_text() == "somebody's"
