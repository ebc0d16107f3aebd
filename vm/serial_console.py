"""A guest's serial console, as a file."""

from __future__ import annotations

from pathlib import Path

_TAIL = 4096


def last_line(console: Path) -> str:
    """Return the last whole line that stands on a console, printable and at most 60 characters."""
    try:
        with console.open("rb") as file:
            file.seek(max(0, console.stat().st_size - _TAIL))
            lines = file.read().splitlines(keepends=True)
    except FileNotFoundError:
        return ""
    whole = [line for line in lines if line.endswith(b"\n") and line.strip()]
    text = whole[-1].decode("ascii", "replace").strip() if whole else ""
    return "".join(char if char.isprintable() else " " for char in text)[:60]
