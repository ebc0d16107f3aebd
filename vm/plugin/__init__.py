"""The QEMU plugin that records stores to struct pages: built here, read by `zaptrace.life`.

The C files are part of the package.  gcc is needed when a plugin is built, once for each source
and compiler; what it makes lies in the cache.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vm import host
from zaptrace.model.errors import CannotTell, Missing
from zaptrace.model.paths import cache_home, locked

COMPILER = "gcc"
FLAGS: tuple[str, ...] = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror")
FLAGS += ("-shared", "-fPIC", "-fvisibility=hidden", "-flto=auto")
TAKEN = "out= and text= are needed"
"""What it says where it works, without its arguments."""
LIBRARIES = ("-ldl", "-pthread")
_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


@dataclass(frozen=True, slots=True)
class Plugin:
    """The plugin in a guest.

    Attributes:
        library: what `build` made.
        shared: a file descriptor of the memory that the plugin writes to, laid out by
            `zaptrace.life`.
        texts: link-time addresses of the kernel's code: start and end.
        stack_shift: log2 of a kernel stack's bytes.
    """

    library: Path
    shared: int
    texts: tuple[tuple[int, int], ...]
    stack_shift: int = 14

    def argument(self, memory: str) -> str:
        """Return QEMU's `-plugin`, for a guest of this `-m`."""
        texts = (f"text={start:x}-{end:x}" for start, end in self.texts)
        path = str(self.library).replace(",", ",,")
        out = f"out=/proc/self/fd/{self.shared}"
        ram = f"ram={_bytes(memory)}"
        return ",".join((f"file={path}", out, ram, *texts, f"stack={self.stack_shift}"))


def _bytes(memory: str) -> int:
    """Return the bytes of QEMU's `-m`: MiB without a unit."""
    unit = memory[-1:].upper()
    return int(memory[:-1]) << _UNITS[unit] if unit in _UNITS else int(memory) << 20


def sources() -> list[Path]:
    """Return the plugin's C files."""
    return sorted(Path(__file__).parent.glob("*.c"))


def build() -> Path:
    """Return the plugin as a shared object, compiled unless the cache has it.

    Raises:
        Missing: there is no compiler.
        CannotTell: it does not compile here.
    """
    folder = cache_home() / "plugins"
    library = folder / f"life-{_key()}.so"
    if library.exists():
        return library
    with locked(folder / "lock"):
        if not library.exists():
            _compile(library)
    return library


def tried(qemu: str, library: Path) -> str | None:
    """Return what QEMU says against the plugin; None when it takes it.

    Args:
        qemu: the emulator.
        library: what `build` made.

    Raises:
        Missing: it is not installed.
    """
    name = str(library).replace(",", ",,")
    done = host.run(
        qemu, "-M", "none", "-display", "none", "-nodefaults", "-plugin", f"file={name}"
    )
    words = done.stderr.decode(errors="replace").strip().splitlines()
    if any(TAKEN in line for line in words):  # it got as far as its own arguments
        return None
    return words[0] if words else "no word from it"


def _key() -> str:
    """Return what changes with the sources, the compiler and its options."""
    digest = hashlib.sha256(" ".join((*FLAGS, *LIBRARIES)).encode())
    for source in (*sources(), Path(__file__).parent / "plugin.h"):
        digest.update(source.read_bytes())
    digest.update(_compiler().encode())
    return digest.hexdigest()[:16]


def _compiler() -> str:
    """Return which one it is.

    Raises:
        Missing: none is installed.
    """
    try:
        return host.output(COMPILER, "--version").splitlines()[0]
    except Missing:
        raise Missing(f"{COMPILER} is not installed", f"apt-get install {COMPILER}") from None


def _compile(library: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".building-", dir=library.parent) as folder:
        made = Path(folder) / library.name
        argv = [COMPILER, *FLAGS, "-o", str(made), *map(str, sources()), *LIBRARIES]
        done = host.run(*argv)
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            why = next((line for line in words if "error" in line), "no word from it")
            raise CannotTell(f"{COMPILER} cannot build QEMU's plugin: {why}")
        made.replace(library)
