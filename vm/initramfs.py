"""The guests' initramfs: busybox and an init of ours in one cpio archive."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from vm import debian, host
from vm.cpio import Archive
from zaptrace.arch import Arch
from zaptrace.model.paths import cache_home, scratch_folder, write_whole

SUITE = "bookworm"
LIVE_APPLETS = ("cat", "cp", "insmod", "mkdir", "mount", "sh", "sleep", "switch_root")
EARLY_APPLETS = ("modprobe", "mount", "poweroff", "sh", "sync", "uname")
APPLETS = (
    *("cat", "dmesg", "echo", "free", "grep", "head", "ls", "mount", "poweroff", "ps"),
    *("sed", "seq", "setsid", "sh", "sleep", "sync", "tail", "uname", "wc"),
)
PROGRAMS = {
    "workload": ("workload.c",),
    "victim": ("victim.c", "victim_zap.c", "victim_elsewhere.c", "victim_references.c"),
    "client": ("client.c",),
}
"""Program -> its sources in `vm/guest`."""
REPRO = ("workload", "victim")
HEADERS = ("victim.h",)
FOLDERS = ("/bin", "/dev", "/proc", "/root", "/sys", "/tmp")


def build(arch: Arch) -> Path:
    """Return the archive that a repro guest lives in, with our programs (uncompressed cpio).

    From the cache, or made now.

    Raises:
        Missing: no cross compiler, or no package available.
        CannotTell: a program does not compile.
    """
    files = [file for name in REPRO for file in PROGRAMS[name]]
    more = b"".join(_script(file) for file in (*HEADERS, *files))

    def add_programs(archive: Archive) -> None:
        for name in REPRO:
            archive.file(f"/bin/{name}", program(arch, name), 0o755)

    return _built(arch, "repro", "init", APPLETS, more, add_programs)


def build_live(arch: Arch, modules: Sequence[Path] = ()) -> Path:
    """Return the archive that takes a live guest to its disks (uncompressed cpio).

    Args:
        modules: what must be loaded for that, in this order; named so that they sort.

    Raises:
        Missing: no package available.
    """
    files = {path.name: path.read_bytes() for path in modules}
    agent, client = _script("agent.py"), _script("client.c")
    more = agent + client + b"".join(name.encode() + data for name, data in files.items())

    def add_modules(archive: Archive) -> None:
        archive.file("/agent.py", agent)
        archive.file("/client", program(arch, "client"), 0o755)
        for name, data in files.items():
            archive.file(f"/modules/{name}", data)

    return _built(arch, "live", "find-disks", LIVE_APPLETS, more, add_modules)


def build_early(arch: Arch) -> Path:
    """Return the archive whose user space begins with modprobe, the kernel's own calls of it
    included.

    From the cache, or made now (uncompressed cpio).

    Raises:
        Missing: no package available.
    """

    def add_modprobe(archive: Archive) -> None:
        archive.symlink("/sbin/modprobe", "../bin/busybox")  # where the kernel looks for it

    return _built(arch, "early", "early", EARLY_APPLETS, add=add_modprobe)


def _built(
    arch: Arch,
    name: str,
    init: str,
    applets: tuple[str, ...],
    more: bytes = b"",
    add: Callable[[Archive], None] = lambda archive: None,
) -> Path:
    busybox = debian.fetch("busybox-static", SUITE, arch.debian)
    script = _script(init)
    key = hashlib.sha256(b"\0".join((busybox.name.encode(), script, more)))
    key.update(Path(__file__).read_bytes())
    path = cache_home() / "initramfs" / f"{arch.name}-{name}-{key.hexdigest()[:16]}.cpio"
    if not path.exists():
        archive = _archive(script, debian.member(busybox, "/bin/busybox"), applets)
        add(archive)
        write_whole(path, archive.finish())
    return path


def _script(name: str) -> bytes:
    return (resources.files("vm") / "guest" / name).read_bytes()


def _archive(init: bytes, busybox: bytes, applets: tuple[str, ...]) -> Archive:
    archive = Archive()
    for folder in FOLDERS:
        archive.directory(folder)
    archive.character_device("/dev/console", 5, 1)
    archive.file("/init", init, 0o755)
    archive.file("/bin/busybox", busybox, 0o755)
    for applet in applets:
        archive.symlink(f"/bin/{applet}", "busybox")
    return archive


def program(arch: Arch, name: str) -> bytes:
    """Return one of PROGRAMS, static, compiled now.

    Raises:
        Missing: no cross compiler.
        CannotTell: it does not compile.
    """
    compiler = f"{arch.cross}gcc"
    with scratch_folder() as folder:
        made = folder / "program"
        for file in (*HEADERS, *PROGRAMS[name]):
            (folder / file).write_bytes(_script(file))
        argv = [compiler, "-static", "-O2", "-s", "-Wall", "-Wextra", "-o", str(made)]
        host.output(*argv, *(str(folder / file) for file in PROGRAMS[name]))
        return made.read_bytes()
