"""The running kernel: which build it is, and its probe plan,
with debug info or without."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from zaptrace.arch import ARCHES
from zaptrace.elf import debuglink
from zaptrace.elf.notes import build_id_in
from zaptrace.kernel.plan_cache import build_id, cached_plan, plan_for
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
    "vmlinux",  # virtme-ng starts a guest's shell in the folder that the kernel was built in
)
KALLSYMS = Path("/proc/kallsyms")
BTF = Path("/sys/kernel/btf/vmlinux")
_PACKAGE = "var/lib/dpkg/info/linux-image-{kind}{release}.list"
_KINDS = ("", "unsigned-")
"""A kernel's package is signed (Debian, Ubuntu) or not; dpkg keeps a list of its files."""
_DEBIAN, _UBUNTU = "debian-kernel@lists.debian.org", "(Ubuntu "
"""What /proc/version says of a distribution's kernel, also where its package is not installed."""


def debug_hint(release: str, identity: str | None = None, root: Path = Path("/")) -> str:
    """Return where the debug symbols of a kernel come from: a command, or a place.

    Args:
        release: as `uname -r` prints it.
        identity: its build ID, None when it is not known.
        root: where etc, lib and var are; `/` but for tests.
    """
    builder = _text(root / "proc/version")
    packaged = any((root / _PACKAGE.format(release=release, kind=kind)).exists() for kind in _KINDS)
    if packaged or _DEBIAN in builder or _UBUNTU in builder:
        if _UBUNTU in builder or "ubuntu" in _text(root / "etc/os-release").lower():
            return f"apt-get install linux-image-{release}-dbgsym (of Ubuntu's archive ddebs)"
        return f"apt-get install linux-image-{release}-dbg"
    if os.environ.get("DEBUGINFOD_URLS") and identity:
        return f"--vmlinux $(debuginfod-find debuginfo {identity})"
    tree = root / "lib/modules" / release / "build"
    where = str(tree.resolve()) if tree.exists() else "the tree it was built in"
    return f"--vmlinux FILE, of {where}"


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def running_build_id(notes: Path = NOTES) -> str | None:
    """Return the GNU build ID of the running kernel in hex digits, None when it is not readable."""
    try:
        raw = notes.read_bytes()
    except OSError:
        return None
    return build_id_in(raw, "<" if sys.byteorder == "little" else ">")


def running_plan(vmlinux: Path | None = None) -> ProbePlan:
    """Return the probe plan of the kernel that runs here.

    Args:
        vmlinux: its ELF file with debug info; looked for in the usual places when
            None, and not needed when the plan is in the cache.  Where it is nowhere,
            the plan is made without debug info, and says so in its notes.

    Raises:
        BadInput: `vmlinux` belongs to another build.
        Missing: the kernel shows neither BTF nor kallsyms, or is of an architecture
            that we do not know.
    """
    identity = running_build_id()
    if vmlinux is not None:
        other = build_id(vmlinux)
        if None not in (identity, other) and identity != other:
            raise BadInput(f"{vmlinux} has build ID {other}, the running kernel has {identity}")
        return plan_for(vmlinux)
    if identity is not None:
        plan = cached_plan(identity)
        if plan is not None:
            return plan
        found = running_vmlinux(identity)
        if found is not None:
            return plan_for(found)
    return _plan_from_btf(identity)


def running_vmlinux(identity: str) -> Path | None:
    """Return the running kernel's vmlinux in one of the usual places, None when it is in none.

    Args:
        identity: the kernel's build ID.
    """
    usual = [Path(place.format(release=platform.release())) for place in PLACES]
    for path in (*usual, debuglink.installed(identity)):
        if path.is_file() and _is_of(path, identity):
            return path
    return None


def _is_of(path: Path, identity: str) -> bool:
    """Return whether a file belongs to a build; one that is no ELF file is not."""
    try:
        return build_id(path) == identity
    except BadInput:
        return False


def _plan_from_btf(identity: str | None) -> ProbePlan:
    """Return the plan that can be made from the running kernel's BTF and kallsyms."""
    from zaptrace.kernel.btf import Btf
    from zaptrace.kernel.plan_from_btf import names_in, plan_without_debug_info

    release = platform.release()
    arch = ARCHES.get(platform.machine())
    try:
        names = names_in(KALLSYMS.read_bytes())
    except OSError:
        names = None
    if arch is None or names is None or not names.plain:
        why = "none for this architecture" if arch is None else f"{KALLSYMS} names no functions"
        raise Missing(
            f"no probe plan for the running kernel {release}: {why}",
            debug_hint(release, identity),
        )
    btf = Btf(BTF.read_bytes(), arch.order) if BTF.exists() else None
    return plan_without_debug_info(names, btf, arch, release, identity)
