"""What is made of proofs that KVM boots a guest."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from vm import accel, host, initramfs
from vm.breakpoints import Stops
from vm.qemu import GuestConfig
from zaptrace.arch import arch_named

X86_64 = arch_named("x86_64")


@pytest.fixture
def choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, list[str]]]:
    """Choose on a machine where a kernel boots with some accelerators: the choice, and what
    was tried for it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(accel, "KVM", tmp_path)
    monkeypatch.setattr(host, "output", lambda *argv: "QEMU 7.2\n")
    monkeypatch.setattr(initramfs, "build", lambda arch: tmp_path / "ours.cpio")

    def chosen(*works: str, stops: Stops = accel.NOWHERE) -> tuple[str, list[str]]:
        tried = []

        async def boots(config: GuestConfig, at: Stops, seconds: float | None = None) -> bool:
            assert config.initrd == tmp_path / "ours.cpio"
            assert config.append == f"{X86_64.append} nokaslr"
            assert at == stops
            tried.append(config.accel)
            return config.accel in works

        monkeypatch.setattr(accel, "boots", boots)
        theirs = GuestConfig(X86_64, tmp_path / "bzImage", tmp_path / "their.cpio", "", tmp_path)
        return asyncio.run(accel.choose(theirs, stops)).name, tried

    return chosen


def test_a_proof_is_remembered(choose: Callable[..., tuple[str, list[str]]]) -> None:
    assert choose("kvm", "tcg") == ("kvm", ["kvm"])
    assert choose() == ("kvm", [])


def test_a_refutation_is_remembered(choose: Callable[..., tuple[str, list[str]]]) -> None:
    assert choose("tcg") == ("tcg", ["kvm", "tcg"])
    assert choose("kvm", "tcg") == ("tcg", [])


def test_to_boot_is_no_proof_of_a_stop(choose: Callable[..., tuple[str, list[str]]]) -> None:
    assert choose("kvm", "tcg") == ("kvm", ["kvm"])
    assert choose("tcg", stops=Stops((1, 2))) == ("tcg", ["kvm", "tcg"])
    assert choose("kvm", "tcg", stops=Stops((1, 2))) == ("tcg", [])
    assert choose("tcg") == ("kvm", [])


def test_a_kernel_that_never_boots_proves_nothing(
    choose: Callable[..., tuple[str, list[str]]],
) -> None:
    assert choose() == ("tcg", ["kvm", "tcg"])
    assert choose("kvm", "tcg") == ("kvm", ["kvm"])


def test_a_foreign_architecture_is_emulated(tmp_path: Path) -> None:
    theirs = GuestConfig(arch_named("s390x"), tmp_path, None, "", tmp_path)
    if platform.machine() != "s390x":
        assert str(asyncio.run(accel.choose(theirs))).startswith("tcg (the host is ")


def test_without_a_device_nothing_is_tried(
    choose: Callable[..., tuple[str, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accel, "KVM", tmp_path / "none")
    assert choose("kvm", "tcg") == ("tcg", [])
