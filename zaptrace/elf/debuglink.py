"""Split debug info: the file that belongs to a kernel's, and where it may lie.

`objcopy --only-keep-debug` leaves all but the code in one file, `strip` the
code in the other, and `objcopy --add-gnu-debuglink` the name of the first in
the second (GDB manual, "Debugging Information in Separate Files").
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".debug"
SYSTEM = Path("/usr/lib/debug")


def candidates(path: Path, link: bytes | None, build_id: str | None) -> Iterator[Path]:
    """Yield where the other half of a file may be.

    Args:
        link: its .gnu_debuglink section.
        build_id: of both.
    """
    name = (link or b"").partition(b"\0")[0].decode(errors="replace")
    if name and "/" not in name:
        yield path.parent / name
        yield path.parent / SUFFIX / name
    if path.suffix == SUFFIX:
        yield path.with_suffix("")
    else:
        yield path.with_name(path.name + SUFFIX)
    if build_id is not None:
        yield installed(build_id)


def installed(build_id: str) -> Path:
    """Return where a system has the debug info of a build."""
    return SYSTEM / ".build-id" / build_id[:2] / f"{build_id[2:]}{SUFFIX}"
