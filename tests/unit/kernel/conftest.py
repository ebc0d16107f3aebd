"""The mimic: a small ELF file whose functions bear the kernel's names, compiled here and now."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "mimic"

VARIANTS = {
    # What a compiler makes of the same source: other registers, stack slots,
    # clones, entry values; and other forms of the same debug info.
    "dwarf5": "-O2 -gdwarf-5",
    "dwarf4": "-O3 -gdwarf-4 -gz -fno-ipa-cp -fno-ipa-sra",
    "stack": "-O1 -gdwarf-5 -fno-asynchronous-unwind-tables",
    "entry-values": "-O2 -gdwarf-5 -DFORGET -fno-ipa-ra",
    "frame-pointer": "-O1 -gdwarf-5 -fno-omit-frame-pointer",
}


@dataclass(frozen=True)
class Mimic:
    """A compiled mimic.

    Attributes:
        variant: its name in VARIANTS.
        path: the linked ELF file.
        addr2line: the binutils program that reads it.
    """

    variant: str
    path: Path
    addr2line: str


def compiler(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: there is nothing to compile the mimic with")
    return found


def compile_mimic(folder: Path, gcc: str, flags: str, *, driver: bool) -> Path:
    """Compiled with these flags and linked where it will run, like a kernel."""
    program = folder / "mimic"
    objects = [f"{program}.o"]
    run([gcc, *flags.split(), "-c", "-o", objects[0], str(SOURCES / "mimic.c")])
    if driver:
        # Its own debug info is not wanted.
        objects.append(f"{folder}/driver.o")
        run([gcc, "-g0", "-O1", "-c", "-o", objects[1], str(SOURCES / "driver.c")])
    how = [] if driver else ["-nostdlib", "-Wl,-ereport"]
    run([gcc, *flags.split(), "-no-pie", "-Wl,--build-id", *how, "-o", str(program), *objects])
    return program


def run(command: list[str]) -> None:
    subprocess.run(command, check=True, timeout=60)


@pytest.fixture(scope="session", params=VARIANTS)
def runnable(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mimic:
    """The mimic with its driver, in every variant, for this machine."""
    if platform.machine() != "x86_64":
        pytest.skip(f"the mimic's driver knows x86_64's registers, not {platform.machine()}'s")
    folder = tmp_path_factory.mktemp(request.param)
    path = compile_mimic(folder, compiler("gcc"), VARIANTS[request.param], driver=True)
    return Mimic(request.param, path, "addr2line")


@pytest.fixture(scope="session", params=["x86_64", "s390x"])
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mimic:
    """The mimic alone: small, for every architecture there is a compiler for."""
    arch = request.param
    prefix = "" if platform.machine() == arch else f"{arch}-linux-gnu-"
    folder = tmp_path_factory.mktemp(f"bare-{arch}")
    flags = VARIANTS["stack"]
    path = compile_mimic(folder, compiler(f"{prefix}gcc"), flags, driver=False)
    return Mimic("stack", path, f"{prefix}addr2line")
