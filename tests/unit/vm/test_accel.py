"""Which accelerator a guest gets, and what may prove KVM."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.unit.vm.test_qemu import config, needs_qemu
from vm import accel, host, initramfs
from vm.arch import ARCHES
from vm.qemu import GuestConfig
from zaptrace.model.errors import Missing
from zaptrace.model.progress import Update

ARCH = ARCHES["x86_64"]


class Lab:
    """A host of that architecture with a /dev/kvm that opens, where proofs come out as told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache = folder / "zaptrace"
        self.works = True
        self.proofs: list[GuestConfig] = []
        self.initrd = folder / "lab.cpio"
        device = folder / "kvm"
        device.touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
        monkeypatch.setattr("platform.machine", lambda: ARCH.name)
        monkeypatch.setattr(accel, "KVM", device)
        monkeypatch.setattr(accel, "boots", self.boots)
        monkeypatch.setattr(host, "output", lambda *argv: "QEMU emulator version 9\nmore\n")
        monkeypatch.setattr(initramfs, "build", lambda arch: self.initrd)

    async def boots(self, proof: GuestConfig) -> bool:
        self.proofs.append(proof)
        return self.works

    def kernel(self, name: str) -> Path:
        folder = self.cache / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "image").touch()
        return folder / "image"

    def choice(self) -> str:
        return str(asyncio.run(accel.choose(ARCH)))


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path, monkeypatch)


def test_a_foreign_architecture_is_emulated(lab: Lab) -> None:
    lab.kernel("s390x-repro-1-a")
    assert str(asyncio.run(accel.choose(ARCHES["s390x"]))) == "tcg (the host is x86_64)"
    assert lab.proofs == []


def test_without_a_device_nothing_is_tried(lab: Lab) -> None:
    lab.kernel("x86_64-repro-1-a")
    accel.KVM.unlink()
    assert lab.choice().startswith("tcg (")
    assert lab.proofs == []


def test_the_labs_own_guest_proves_it_once(lab: Lab) -> None:
    lab.kernel("x86_64-live-1-a")
    lab.kernel("x86_64-stock-6.12")
    image = lab.kernel("x86_64-repro-1-b")
    assert lab.choice() == lab.choice() == "kvm (a guest was seen to boot with it)"
    (proof,) = lab.proofs
    assert (proof.kernel, proof.initrd, proof.accel) == (image, lab.initrd, "kvm")
    assert "zapfault=none" in proof.append.split()


def test_a_failed_proof_is_remembered_for_that_kernel_only(lab: Lab) -> None:
    lab.works = False
    lab.kernel("x86_64-live-1-a")
    assert lab.choice() == lab.choice() == "tcg (KVM is there but does not boot a guest)"
    assert len(lab.proofs) == 1
    lab.works = True
    lab.kernel("x86_64-repro-1-b")
    assert lab.choice().startswith("kvm ")


def test_what_was_remembered_of_users_kernels_is_forgotten(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their roots print no proof: kvm.json of before says False where KVM works."""
    monkeypatch.setattr("platform.release", lambda: "6.1")
    lab.kernel("x86_64-repro-1-a")
    (lab.cache / "kvm.json").write_text(json.dumps({"6.1 QEMU emulator version 9": False}))
    assert lab.choice().startswith("kvm ")


def test_without_a_lab_kernel_nothing_is_built_and_nothing_remembered(lab: Lab) -> None:
    lab.kernel("x86_64-stock-6.12")
    assert "zaptrace vm kernel build x86_64" in lab.choice()
    assert lab.proofs == []
    assert not (lab.cache / "kvm.json").exists()


def test_a_proof_that_cannot_be_made_keeps_no_guest_from_booting(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(arch: object) -> Path:
        raise Missing("no mirror")

    monkeypatch.setattr(initramfs, "build", missing)
    lab.kernel("x86_64-repro-1-a")
    assert lab.choice() == "tcg (KVM is not proven here: no mirror)"
    assert not (lab.cache / "kvm.json").exists()


def test_the_wait_for_a_proof_is_said(lab: Lab) -> None:
    lab.kernel("x86_64-repro-1-a")
    said: list[Update] = []
    asyncio.run(accel.choose(ARCH, said.append))
    assert {update.title for update in said} == {"Prove KVM by booting a guest"}
    said.clear()
    asyncio.run(accel.choose(ARCH, said.append))
    assert said == []


@needs_qemu
def test_a_kernel_that_does_not_boot_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accel, "PROOF_SECONDS", 1.0)
    assert not asyncio.run(accel.boots(config(tmp_path)))
