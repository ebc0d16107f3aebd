"""This machine as a lab: what builds kernels and boots guests."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path

from vm import accel, debian, host, plugin
from vm.breakpoints import Stops
from vm.qemu import GuestConfig
from zaptrace.arch import ARCHES, Arch
from zaptrace.kernel import plan_for
from zaptrace.model.errors import ZaptraceError
from zaptrace.model.paths import cache_home
from zaptrace.runs import stops
from zaptrace.runs.doctor.check import Check

AREA = "lab"
DISK = 8 << 30
"""Bytes free: a kernel's build tree and what comes out of it, a Debian, a few dumps."""
MEMORY = 2 << 30
"""Bytes available: a guest of 1 GiB, QEMU's own, the compiler's or the audit's."""
PROGRAMS = {
    # Program -> Debian package, and what it is for.
    "make": ("make", "lab kernels"),
    "bison": ("bison", "lab kernels"),
    "flex": ("flex", "lab kernels"),
    "bc": ("bc", "lab kernels"),
    "pahole": ("dwarves", "lab kernels with BTF"),
    "mmdebstrap": ("mmdebstrap", "live guests"),
    "mke2fs": ("e2fsprogs", "live guests"),
    "setpriv": ("util-linux", "guests that die with zaptrace"),
    "dpkg-deb": ("dpkg", "Debian's packages"),
}


def checks() -> list[Check]:
    """Return all checks of the machine."""
    return [
        *(check for arch in ARCHES.values() for check in (_qemu(arch), _compiler(arch))),
        *_lives(),
        _kvm(),
        *_programs(),
        _apt(),
        disk(cache_home()),
        memory(Path("/proc/meminfo")),
    ]


def _package(arch: Arch, start: str) -> str:
    """Return the architecture's package whose name begins so."""
    return next((choice[0] for choice in arch.packages if choice[0].startswith(start)), start)


def _qemu(arch: Arch) -> Check:
    name = f"QEMU {arch.name}"
    fix = f"apt-get install {_package(arch, 'qemu-system')}"
    if shutil.which(arch.qemu) is None:
        says = f"{arch.qemu} is not installed"
        return Check(AREA, name, works=False, says=says, fix=fix, needed=False)
    return Check(AREA, name, works=True, says=host.output(arch.qemu, "--version").splitlines()[0])


def _compiler(arch: Arch) -> Check:
    name, program = f"compiler {arch.name}", f"{arch.cross}gcc"
    if shutil.which(program) is None:
        fix = f"apt-get install {_package(arch, 'gcc')}"
        says = f"{program} is not installed: no lab kernel can be built"
        return Check(AREA, name, works=False, says=says, fix=fix, needed=False)
    return Check(AREA, name, works=True, says=host.output(program, "--version").splitlines()[0])


def _lives() -> Iterable[Check]:
    """Check whether the plugin that records pages' lives can be built, and QEMU takes it."""
    try:
        library = plugin.build()
    except ZaptraceError as error:
        says = f"{error}: repro boots do without"
        yield Check(AREA, "pages' lives", False, says, error.hint, needed=False)
        return
    for arch in ARCHES.values():
        if shutil.which(arch.qemu) is None:
            continue
        said = plugin.tried(arch.qemu, library)
        says = "QEMU takes the plugin that records them" if said is None else said
        yield Check(AREA, f"pages' lives {arch.name}", said is None, says, needed=False)


def _kvm() -> Check:
    """Check whether KVM boots a guest: that it opens and answers proves nothing."""
    arch = ARCHES.get(platform.machine())
    if arch is None or not accel.KVM.exists():
        says = f"no {accel.KVM}: guests run under TCG, ten times as slow"
        fix = "switch virtualisation on in the firmware, or nested virtualisation in the host"
        return Check(AREA, "KVM", works=False, says=says, fix=fix, needed=False)
    if not os.access(accel.KVM, os.R_OK | os.W_OK):
        says = f"{accel.KVM} is not open to this user: guests run under TCG, ten times as slow"
        return Check(
            AREA, "KVM", False, says, 'sudo adduser "$USER" kvm, and log in again', needed=False
        )
    images = sorted((cache_home() / "kernels").glob(f"{arch.name}-repro-*/image"))
    if not images or shutil.which(arch.qemu) is None:
        says = "not proven: that takes a lab kernel of this machine's architecture"
        fix = f"zaptrace vm kernel build {arch.name}"
        return Check(AREA, "KVM", works=None, says=says, fix=fix, needed=False)
    kernel = images[-1]
    chosen = _proven(arch, kernel)
    if chosen.name != "kvm":
        says = f"{chosen.why}: guests run under TCG, ten times as slow"
        return Check(AREA, "KVM", works=False, says=says, needed=False)
    stopped = _proven(arch, kernel, stops.on_every_way(plan_for(kernel.parent / "vmlinux")))
    if stopped.name != "kvm":
        says = "boots a guest, but does not stop it at a breakpoint: zaptrace repro runs under TCG"
        return Check(AREA, "KVM", works=False, says=says, needed=False)
    says = "boots a guest, and stops it at a breakpoint"
    return Check(AREA, "KVM", works=True, says=says, needed=False)


def _proven(arch: Arch, image: Path, where: Stops = accel.NOWHERE) -> accel.Accelerator:
    config = GuestConfig(arch, image, None, "", Path(os.devnull))
    return asyncio.run(accel.choose(config, where))


def _programs() -> Iterable[Check]:
    for program, (package, purpose) in PROGRAMS.items():
        found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:{host.SBIN}")
        says = f"for {purpose}" if found else f"not installed; for {purpose}"
        fix = None if found else f"apt-get install {package}"
        yield Check(AREA, program, works=found is not None, says=says, fix=fix, needed=False)


def _apt() -> Check:
    fix = "apt-get update"
    try:
        mirror = debian.mirror()
    except ZaptraceError as error:
        return Check(AREA, "apt", False, str(error), error.hint or fix, needed=False)
    if not debian.KEYRING.exists():
        says = f"{debian.KEYRING} is not there: no package can be verified"
        fix = "apt-get install debian-archive-keyring"
        return Check(AREA, "apt", works=False, says=says, fix=fix, needed=False)
    return Check(AREA, "apt", works=True, says=f"packages come from {mirror}")


def disk(folder: Path) -> Check:
    """Return the disk that the caches are on."""
    free = shutil.disk_usage(folder).free
    says = f"{free / 2**30:.1f} GiB free at {folder}; {DISK >> 30} are wanted"
    fix = None if free >= DISK else "zaptrace vm clean, or set XDG_CACHE_HOME to a larger disk"
    return Check(AREA, "disk", works=free >= DISK, says=says, fix=fix, needed=False)


def memory(meminfo: Path) -> Check:
    """Return what is left of the memory."""
    lines = (line.split() for line in meminfo.read_text().splitlines())
    free = next((int(line[1]) << 10 for line in lines if line[:1] == ["MemAvailable:"]), 0)
    says = f"{free / 2**30:.1f} GiB available; {MEMORY >> 30} are wanted"
    fix = None if free >= MEMORY else "end what takes memory: ps -eo rss,pid,comm --sort=-rss"
    return Check(AREA, "memory", works=free >= MEMORY, says=says, fix=fix, needed=False)
