"""How a task is written: one way, in every text."""

from __future__ import annotations


def task_name(comm: str | None, pid: int | None) -> str:
    """Return `mount/41`, or `mount` where only the name is known, with `?` for what is not.

    A comm is hostile: the caller prints it escapes it (`zaptrace.report.words.plain`).
    """
    if comm and pid is None:
        return comm
    return f"{comm or '?'}/{'?' if pid is None else pid}"
