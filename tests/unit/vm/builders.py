"""Guests that need no kernel, and packages of modules that are made up."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vm.qemu import GuestConfig
from zaptrace.arch import ARCHES

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-s390x") is None, reason="QEMU is not installed: make setup"
)


def config(tmp_path: Path, memory: str = "64M") -> GuestConfig:
    kernel = tmp_path / "image,odd"
    kernel.write_bytes(b"\x07\xfe" * 4096)  # bcr 15,%r14: runs, and does nothing
    return GuestConfig(ARCHES["s390x"], kernel, None, "quiet", tmp_path / "a,b.log", memory, smp=1)
