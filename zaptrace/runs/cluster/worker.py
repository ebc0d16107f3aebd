"""A Dask worker that takes tasks: `python -m zaptrace.runs.cluster.worker ADDRESS [options]`.

It offers one of a resource that is named after its checkout, and a task needs one of the same
name: so no worker does two tasks at once, or one of another version.  The options are those of
`dask worker`.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vm.payload import PACKAGES
from zaptrace.model.paths import cache_home
from zaptrace.runs.cluster.process import CHECKOUT, REFUSED, Task, run

RESOURCE = "zaptrace-"
"""What the resource's name begins with; after it stands the checkout's hash."""
MOST_LENT = 8 << 30
"""Bytes of lent files that are kept; those that were used longest ago go first."""


def checkout() -> str:
    """Return a hash of the files that a task runs, committed or not; needs no git."""
    digest = hashlib.sha256()
    for part in (*PACKAGES, "tests/guest", "tests/matrix"):
        for path in sorted((CHECKOUT / part).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                data = path.read_bytes()
                digest.update(f"{path.relative_to(CHECKOUT)} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:12]


def do(fields: dict[str, Any], resource: str, topic: str) -> tuple[Any, ...]:
    """Do a task, as long as a client waits for it; return the fields of its Outcome.

    Args:
        fields: those of the Task.
        resource: that of the checkout that the task is meant for.
        topic: the Dask topic under which its lines are reported.
    """
    from distributed import get_worker  # half a second, which main() spends on nothing

    worker, task = get_worker(), Task(**fields)
    if resource != RESOURCE + checkout():
        return None, f"{REFUSED}: the checkout of worker {worker.address} was changed", {}
    if lacking(list(task.lent.values())):
        return None, LACKING, {}
    state = worker.state.tasks[worker.get_current_task()]
    # The files of a worker that was killed are removed by the next one on that machine.
    with tempfile.TemporaryDirectory(dir=worker.local_directory) as scratch:
        outcome = run(
            task,
            lambda line: worker.log_event(topic, f"{worker.address} {line}"),
            lambda: state.state != "cancelled",
            Path(scratch),
            _place,
        )
    return outcome.status, outcome.why, outcome.left


LACKING = "lacks files that were not sent yet"


def lacking(digests: Sequence[str]) -> list[str]:
    """Return which of some lent files are not on this machine."""
    return [digest for digest in digests if not _place(digest).exists()]


def take(digest: str, piece: bytes, last: bool) -> None:
    """Add a piece to a lent file; it is there when the last one fits its name.

    Args:
        digest: the whole file's SHA-256.
    """
    place = _place(digest)
    partial = place.with_name(f".{digest}-{os.getpid()}")
    with partial.open("ab") as file:
        file.write(piece)
    if not last:
        return
    with partial.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest() == digest
    if whole:
        partial.rename(place)
        _thin_out()
    else:
        partial.unlink()


def _place(digest: str) -> Path:
    folder = cache_home() / "lent"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / digest


def _thin_out() -> None:
    room = MOST_LENT
    newest = sorted(_place("").glob("*"), key=lambda one: one.stat().st_mtime, reverse=True)
    for path in newest:
        room -= path.stat().st_size
        if room < 0:
            path.unlink(missing_ok=True)


def main() -> None:
    """Become the worker."""
    os.environ["PYTHONPATH"] = str(CHECKOUT)  # `tests` is not installed
    resource = f"{RESOURCE}{checkout()}=1"
    dask = [sys.executable, "-m", "dask", "worker", "--nthreads", "1", "--resources", resource]
    os.execv(sys.executable, [*dask, *sys.argv[1:]])


if __name__ == "__main__":
    main()
