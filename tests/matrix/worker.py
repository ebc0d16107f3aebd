"""A Dask worker that takes rows: `python -m tests.matrix.worker ADDRESS [options of dask worker]`.

It offers one of a resource that is named after its checkout, and a row needs one
of the same name: so no worker does two rows at once, or one of another version.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distributed import get_worker

from tests.matrix.process import CHECKOUT, run
from vm.payload import PACKAGES

RESOURCE = "zaptrace-"
"""What the resource's name begins with; behind it stands the checkout's hash."""


def checkout() -> str:
    """A hash of the files that a row runs, committed or not; needs no git."""
    digest = hashlib.sha256()
    for part in (*PACKAGES, "tests/guest", "tests/matrix"):
        for path in sorted((CHECKOUT / part).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                data = path.read_bytes()
                digest.update(f"{path.relative_to(CHECKOUT)} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:12]


def row(
    words: Sequence[str], seconds: float, resource: str, topic: str
) -> tuple[dict[str, dict[str, Any]], str, dict[str, bytes]]:
    """Do a row, as long as somebody waits for it; the parts of its Outcome.

    Args:
        words, seconds: as `run()` takes them.
        resource: that of the checkout that the row is meant for.
        topic: the Dask topic under which its lines are told.
    """
    worker = get_worker()
    if resource != RESOURCE + checkout():
        return {}, f"the checkout of worker {worker.address} was changed meanwhile", {}
    task = worker.state.tasks[worker.get_current_task()]
    # The files of a worker that was killed are removed by the next one on that machine.
    with tempfile.TemporaryDirectory(dir=worker.local_directory) as scratch:
        outcome = run(
            words,
            Path(scratch) / "row.json",
            seconds,
            lambda line: worker.log_event(topic, f"{worker.address} {line}"),
            lambda: task.state != "cancelled",
            Path(scratch),
        )
    return outcome.done, outcome.why, outcome.left


def main() -> None:
    """Become the worker."""
    os.environ["PYTHONPATH"] = str(CHECKOUT)  # `tests` is not installed
    resource = f"{RESOURCE}{checkout()}=1"
    dask = [sys.executable, "-m", "dask", "worker", "--nthreads", "1", "--resources", resource]
    os.execv(sys.executable, [*dask, *sys.argv[1:]])


if __name__ == "__main__":
    main()
