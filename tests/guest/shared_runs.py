"""Boots that several tests look at: each is made once, by whichever process needs it first."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.scoreboard.board import boot
from tests.scoreboard.truth import Row
from vm.series import DEFAULT
from zaptrace.model.errors import GuestLost

_VARIABLE = "ZAPTRACE_SHARED_RUNS"
"""Where they are, for the processes of xdist."""


def configure(config: pytest.Config) -> None:
    """Make the folder of this run of pytest, and remove it at its end: dumps are large."""
    if _VARIABLE not in os.environ:
        folder = tempfile.mkdtemp(prefix="zaptrace-shared-")
        os.environ[_VARIABLE] = folder

        def remove() -> None:
            del os.environ[_VARIABLE]
            shutil.rmtree(folder, ignore_errors=True)

        config.add_cleanup(remove)


class SharedRuns:
    """Run folders of `zaptrace repro ARCH --fault FAULT`, which stops at its bug.

    Tests in several processes read the same folder: none of them writes to it.
    """

    def __init__(self) -> None:
        self._folder = Path(os.environ[_VARIABLE])

    def run(self, arch: str, fault: str) -> Path:
        """Return the run's folder.

        Raises:
            GuestLost: it has no verdict.
        """
        path, lost = self.run_or_lost(arch, fault)
        if lost:
            raise GuestLost("; ".join(lost["doubts"]))
        return path

    def run_or_lost(self, arch: str, fault: str) -> tuple[Path, Row | None]:
        """Return the run's folder, and the scoreboard's row for a lost guest, or None.

        What was lost is booted anew for the next one who asks.
        """
        path = self._folder / f"{arch}-{fault}"
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (path / "verdict.json").exists():
                return path, None
            shutil.rmtree(path, ignore_errors=True)
            return path, boot(DEFAULT, arch, fault, path)
