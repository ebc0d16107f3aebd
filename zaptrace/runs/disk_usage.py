"""What zaptrace keeps on disk: kernels and saved guests in the cache, runs in the state folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from vm import saved_guest
from zaptrace.model.paths import cache_home, state_home
from zaptrace.runs.folder import all_runs


def kernels() -> list[dict[str, Any]]:
    """Return the lab and stock kernels: path and size on disk in bytes."""
    folders = sorted(path.parent for path in (cache_home() / "kernels").glob("*/image"))
    return [{"path": str(folder), "bytes": _size(folder)} for folder in folders]


def snapshots() -> list[dict[str, Any]]:
    """Return the saved guests: path, size on disk in bytes, architecture."""
    return saved_guest.listed()


def runs() -> list[dict[str, Any]]:
    """Return the runs, oldest first: path, size on disk in bytes, verdict (None when it has
    none)."""
    entries = []
    for run in all_runs():
        document = run.verdict()
        verdict = document["verdict"]["kind"] if document else None
        entries.append({"path": str(run.path), "bytes": _size(run.path), "verdict": verdict})
    return entries


def clean(*, caches: bool) -> int:
    """Remove every run, and the caches when asked; the bytes that were freed."""
    folders = [state_home() / "runs", *([cache_home()] if caches else [])]
    freed = 0
    for folder in folders:
        if folder.exists():
            freed += _size(folder)
            shutil.rmtree(folder)
    return freed


def _size(folder: Path) -> int:
    """Bytes that the files below a folder take on disk (holes do not count)."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
