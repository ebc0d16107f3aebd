"""What the machine is that a row runs on."""

from __future__ import annotations

import os
import platform
import subprocess

from vm.arch import ARCHES


def words() -> str:
    """QEMU's version and the rest that a row's results depend on, for a person."""
    emulator = next(iter(ARCHES.values())).qemu
    said = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=True)
    version = said.stdout.split(" (")[0].strip()
    return f"{version}, TCG, {os.cpu_count()} CPUs, host {platform.machine()}"
