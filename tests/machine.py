"""What a page of the docs says of the machine that it was made on."""

from __future__ import annotations

import os
import platform
import subprocess

from zaptrace.arch import ARCHES


def machine() -> str:
    """The emulator, and what it ran on."""
    emulator = next(iter(ARCHES.values())).qemu
    said = subprocess.run([emulator, "--version"], capture_output=True, text=True, check=True)
    version = said.stdout.split(" (")[0].strip()
    return f"{version}, TCG, {os.cpu_count()} CPUs, host {platform.machine()}"
