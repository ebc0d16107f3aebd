"""Boot a bug of the zoo as a user would: `zaptrace repro` on a kernel of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.zoo.bugs import HERE, Bug
from vm import host, initramfs
from vm.cpio import Archive
from vm.lab_kernel import Kernel
from zaptrace.arch import Arch, arch_named

GUEST_SECONDS = 300
SECONDS = 1500.0
"""A boot with all that comes before and after it, on a machine that does other things too."""
Boot = tuple[Path, dict[str, Any]]
"""A run folder, and what `zaptrace repro --json` says of it."""


def initrd(bug: Bug, arch: Arch, folder: Path) -> Path:
    """Make a repro guest's archive with the bug's trigger, and an init that runs it.

    The kernel unpacks archives that follow each other, and a later file replaces an earlier one.
    """
    program = folder / "trigger"
    argv = [f"{arch.cross}gcc", "-static", "-O2", "-s", "-Wall", "-Wextra", "-Werror", "-pthread"]
    host.output(*argv, "-o", str(program), str(bug.folder / "trigger.c"))
    archive = Archive()
    archive.file("/init", (HERE / "init").read_bytes(), 0o755)
    archive.file("/bin/trigger", program.read_bytes(), 0o755)
    whole = initramfs.build(arch).read_bytes() + archive.finish()
    path = folder / "initrd"
    path.write_bytes(whole)
    return path


def boot(
    bug: Bug, arch: str, kernel: Kernel, run: Path, *more: str, healthy: bool = False
) -> tuple[int, dict[str, Any]]:
    """Boot the bug once.

    Args:
        healthy: trigger it on a kernel that does not have it.

    Returns:
        Exit status, and what `zaptrace repro --json` printed.
    """
    zoo = f"zoo={bug.name}" if bug.patched and not healthy else ""
    append = " ".join(word for word in (zoo, bug.append) if word)
    return _repro(bug, arch, kernel, run, SECONDS, "--append", append, *more)


def boots(bug: Bug, arch: str, kernel: Kernel, runs: Path, count: int) -> list[Boot]:
    """Boot a bug that strikes in some boots only, `count` times by `zaptrace repro --repeat`.

    Returns:
        The run folder and the document of each boot that has a verdict.
    """
    words = ["--append", f"zoo={bug.name} {bug.append}".rstrip(), "--repeat", str(count)]
    _, repeats = _repro(bug, arch, kernel, runs, SECONDS * count, *words)
    folders = [Path(one["run"]) for one in repeats["runs"] if one["kind"] is not None]
    if not folders:
        raise RuntimeError(f"no boot has a verdict: {repeats['runs']}")
    return [(run, json.loads((run / "verdict.json").read_bytes())) for run in folders]


def _repro(
    bug: Bug, arch: str, kernel: Kernel, run: Path, seconds: float, *more: str
) -> tuple[int, dict[str, Any]]:
    """Run `zaptrace repro --json` with the bug's trigger; its exit status and document."""
    with tempfile.TemporaryDirectory(prefix="zaptrace-zoo-") as made:
        words = ["repro", arch, "--json", "--run", str(run), "--timeout", str(GUEST_SECONDS)]
        words += ["--kernel", str(kernel.image), "--vmlinux", str(kernel.vmlinux)]
        words += ["--initrd", str(initrd(bug, arch_named(arch), Path(made)))]
        words += ["--memory", bug.memory, *more, *(["--cpu", bug.cpu] if bug.cpu else [])]
        done = subprocess.run(
            [sys.executable, "-m", "zaptrace", *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, "NO_COLOR": "1"},
        )
    if not done.stdout:
        raise RuntimeError(f"zaptrace {' '.join(words)}: {done.stderr}")
    return done.returncode, json.loads(done.stdout)
