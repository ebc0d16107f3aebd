"""A real Dask cluster of this machine: a scheduler, and workers that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from zaptrace.runs.cluster.process import CHECKOUT

START_SECONDS = 60
WORKER = "zaptrace.runs.cluster.worker"


class Cluster:
    """A scheduler that anybody could have started, two workers with this checkout, and one
    that anybody could have started."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._env = {**os.environ, **(env or {})}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._start("scheduler", "dask", "scheduler", "--port", "0")
        deadline = time.monotonic() + START_SECONDS
        while b"Scheduler at:" not in (said := (folder / "scheduler").read_bytes()):
            assert time.monotonic() < deadline, said.decode()
            time.sleep(0.05)
        self.address = said.split(b"Scheduler at:")[1].split()[0].decode()
        for name in ("one", "two"):
            self.start_worker(name)
        self.start_worker("foreign", "dask", "worker")

    def start_worker(self, name: str, *program: str) -> None:
        """Start one, with this checkout if no other program is named."""
        scratch = ("--local-directory", str(self._folder / f"{name}.scratch"))
        self._start(name, *(program or (WORKER,)), self.address, "--no-nanny", *scratch)

    def await_workers(self) -> None:
        """Wait until the scheduler knows them: who comes late has no part in the first rounds."""
        deadline = time.monotonic() + START_SECONDS
        for name in self.workers():
            while b"Registered to" not in (said := (self._folder / name).read_bytes()):
                assert time.monotonic() < deadline, said.decode()
                time.sleep(0.05)

    def workers(self) -> list[str]:
        """Return the names of those with this checkout."""
        return [name for name in self.processes if name not in ("scheduler", "foreign")]

    def _start(self, name: str, *words: str) -> None:
        here = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0", "--no-dashboard")
        tied = ("setpriv", "--pdeathsig", "KILL", sys.executable, "-m")
        where = CHECKOUT if WORKER in words else self._folder
        with (self._folder / name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [*tied, *words, *here],
                cwd=where,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._env,
            )

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


def gone(pid: int) -> bool:
    """Whether a process ends within a few seconds."""
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            return False
        time.sleep(0.05)
    return True
