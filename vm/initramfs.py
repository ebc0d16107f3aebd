"""The lab guest's root file system: busybox, our init and our workload in one cpio archive."""

from __future__ import annotations

import hashlib
import tempfile
from importlib import resources
from pathlib import Path

from vm import debian, host
from vm.arch import Arch
from vm.cpio import Archive
from zaptrace.model.paths import cache_home, write_whole

SUITE = "bookworm"
APPLETS = (
    *("cat", "dmesg", "echo", "free", "grep", "head", "ls", "mount", "poweroff", "ps"),
    *("sed", "seq", "setsid", "sh", "sleep", "sync", "tail", "uname", "wc"),
)
FOLDERS = ("/bin", "/dev", "/proc", "/sys", "/tmp")


def build(arch: Arch) -> Path:
    """The archive for one architecture, from the cache or made now (uncompressed cpio).

    Raises:
        Missing: no cross compiler, or no package to be had.
        CannotTell: the workload does not compile.
    """
    busybox = debian.fetch("busybox-static", SUITE, arch.debian)
    guest = resources.files("vm") / "guest"
    init = (guest / "init").read_bytes()
    workload = (guest / "workload.c").read_bytes()
    key = hashlib.sha256(b"\0".join((busybox.name.encode(), init, workload)))
    key.update(Path(__file__).read_bytes())
    path = cache_home() / "initramfs" / f"{arch.name}-{key.hexdigest()[:16]}.cpio"
    if not path.exists():
        shell = debian.member(busybox, "/bin/busybox")
        write_whole(path, _archive(init, shell, _compiled(arch, workload)))
    return path


def _archive(init: bytes, busybox: bytes, workload: bytes) -> bytes:
    archive = Archive()
    for folder in FOLDERS:
        archive.directory(folder)
    archive.character_device("/dev/console", 5, 1)
    archive.file("/init", init, 0o755)
    archive.file("/bin/busybox", busybox, 0o755)
    for applet in APPLETS:
        archive.symlink(f"/bin/{applet}", "busybox")
    archive.file("/bin/workload", workload, 0o755)
    return archive.finish()


def _compiled(arch: Arch, source: bytes) -> bytes:
    """A static program for the guest."""
    compiler = f"{arch.cross}gcc"
    with tempfile.TemporaryDirectory(prefix="zaptrace-") as folder:
        program = Path(folder) / "program"
        argv = [compiler, "-static", "-O2", "-s", "-Wall", "-Wextra", "-x", "c", "-"]
        host.output(*argv, "-o", str(program), stdin=source)
        return program.read_bytes()
