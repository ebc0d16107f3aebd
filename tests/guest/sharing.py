"""Boots shared out on two workers of this machine, one of which is killed in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.cluster import Cluster
from tests.guest.lab import guests_of
from zaptrace.runs.folder import RunFolder


def share_out(home: Path, boots: int) -> None:
    """Make some boots; one worker is killed while its guest runs."""
    runs, folder = home / "runs", home / "cluster"
    folder.mkdir()
    dask = Cluster(folder, {"XDG_STATE_HOME": str(home / "state")})
    try:
        argv = [sys.executable, "-m", "zaptrace", "repro", "s390x", "--json", "--run", str(runs)]
        argv += ["--timeout", "300", "--no-life", "--fault", "none", "--stop-at", "exit"]
        argv += ["--repeat", str(boots), "--scheduler", dask.address]
        client = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(home / "state")},
        )
        scratch = folder / "one.scratch"
        deadline = time.monotonic() + 300
        while not guests_of(scratch):
            assert client.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        dask.processes["one"].kill()
        out, err = client.communicate(timeout=1800)
    finally:
        dask.close()
    assert client.returncode == 0, err
    assert "is lost" in err
    found = json.loads(out)
    assert (found["boots"], found["hits"], found["lost"]) == (boots, 0, 0)
    folders = [RunFolder(Path(one["run"])) for one in found["runs"]]
    assert [folder.path for folder in folders] == [
        runs / f"boot-{number:03}" for number in range(1, boots + 1)
    ]
    ids = {folder.facts().boot_id for folder in folders}
    assert len(ids) == boots and None not in ids
    assert all("--scheduler" not in folder.facts().command for folder in folders)
    assert not guests_of(scratch)
