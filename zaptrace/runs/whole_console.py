"""A run's console, with what the kernel had logged and the console did not get."""

from __future__ import annotations

from collections.abc import Sequence

from zaptrace.runs.folder import RunFolder


def whole_console(folder: RunFolder) -> bytes:
    """Return what the guest printed, and after it the end of the kernel's log that the console
    lacks; empty without either."""
    printed = folder.console.read_bytes() if folder.console.exists() else b""
    logged = folder.kernel_log.read_bytes() if folder.kernel_log.exists() else b""
    if not logged:
        return printed
    return printed + (b"" if printed.endswith(b"\n") else b"\n") + logged


def not_printed(console: bytes, log: Sequence[str]) -> tuple[str, ...]:
    """Return the lines of the kernel's log after the last one that the console has.

    Args:
        log: lines with their time stamps; the console may print more before a line's text.
    """
    for at in range(len(log) - 1, -1, -1):
        stamp, _, text = log[at].partition("] ")
        if stamp.encode() in console and text.encode() in console:
            return tuple(log[at + 1 :])
    return tuple(log)
