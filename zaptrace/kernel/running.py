"""The running kernel: which build it is, and its probe plan."""

from __future__ import annotations

import platform
import struct
from pathlib import Path

from zaptrace.kernel.cache import build_id, cached_plan, plan_for
from zaptrace.model.errors import BadInput, Missing
from zaptrace.model.plan import ProbePlan

NOTES = Path("/sys/kernel/notes")
PLACES = (
    # Where distributions and developers leave a vmlinux with debug info.
    "/usr/lib/debug/boot/vmlinux-{release}",
    "/usr/lib/debug/lib/modules/{release}/vmlinux",
    "/lib/modules/{release}/build/vmlinux",
    "/lib/modules/{release}/vmlinux",
    "/boot/vmlinux-{release}",
)
_HEADER = struct.Struct("=III")  # name size, description size, type; native byte order
_BUILD_ID = 3  # NT_GNU_BUILD_ID


def running_build_id(notes: Path = NOTES) -> str | None:
    """The GNU build ID of the running kernel in hex digits, None when it does not tell."""
    try:
        raw = notes.read_bytes()
    except OSError:
        return None
    position = 0
    while position + _HEADER.size <= len(raw):
        name_size, size, kind = _HEADER.unpack_from(raw, position)
        name_at = position + _HEADER.size
        content_at = name_at + (name_size + 3 & ~3)
        if kind == _BUILD_ID and raw[name_at : name_at + name_size] == b"GNU\0":
            return raw[content_at : content_at + size].hex()
        position = content_at + (size + 3 & ~3)
    return None


def running_plan(vmlinux: Path | None = None) -> ProbePlan:
    """The probe plan of the kernel that runs here.

    Args:
        vmlinux: its ELF file with debug info; looked for in the usual places when
            None, and not needed when the plan is in the cache.

    Raises:
        BadInput: `vmlinux` is of another build.
        Missing: it is nowhere to be found.
    """
    identity = running_build_id()
    if vmlinux is not None:
        other = build_id(vmlinux)
        if None not in (identity, other) and identity != other:
            raise BadInput(
                f"{vmlinux} is of build {other}; the running kernel is of build {identity}"
            )
        return plan_for(vmlinux)
    if identity is not None:
        plan = cached_plan(identity)
        if plan is not None:
            return plan
        for place in PLACES:
            path = Path(place.format(release=platform.release()))
            if path.is_file() and build_id(path) == identity:
                return plan_for(path)
    raise Missing(
        f"no vmlinux with debug info for the running kernel {platform.release()}",
        f"apt-get install linux-image-{platform.release()}-dbg, or --vmlinux FILE",
    )
