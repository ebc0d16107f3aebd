"""How a task is written: one way, in every text."""

from __future__ import annotations


def task_name(comm: str | None, pid: int | None) -> str:
    """Return `mount/41`, with `?` for what is not known.

    A comm is hostile: the caller prints it escapes it (`zaptrace.report.words.plain`).
    """
    return f"{comm or '?'}/{'?' if pid is None else pid}"
