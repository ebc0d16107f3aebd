"""What a repro boot boots: the lab's kernel and initramfs, or the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vm import initramfs, lab_kernel
from zaptrace.arch import Arch
from zaptrace.model.errors import BadInput
from zaptrace.model.lab_faults import FAULTS, FOUNDING
from zaptrace.model.progress import Listener, step


@dataclass(frozen=True, slots=True)
class Boot:
    """Files to boot, checked to be there.

    Attributes:
        fault: the lab kernel's `zapfault=`, names with commas between; None for the user's
            own kernel.
        ours: the initramfs is the lab's: its init says when it is done.
    """

    kernel: Path
    vmlinux: Path
    initrd: Path
    fault: str | None
    ours: bool


def prepare(
    arch: Arch,
    listener: Listener,
    timing: dict[str, float],
    *,
    fault: str | None,
    own_kernel: Path | None,
    own_vmlinux: Path | None,
    own_initrd: Path | None,
) -> Boot:
    """Build or find what is to be booted.

    Args:
        fault: names of FAULTS with commas between, or None for the founding case.

    Raises:
        BadInput: the user's own files are incomplete or not there, or no fault has that name.
        Missing, CannotTell: the lab kernel or initramfs cannot be built.
    """
    if (own_kernel is None) != (own_vmlinux is None):
        raise BadInput(
            "a kernel of your own needs both its image and its vmlinux (same build)",
            "--kernel arch/s390/boot/bzImage --vmlinux vmlinux",
        )
    if own_kernel is not None and fault is not None:
        raise BadInput("--fault is for the lab kernel only: yours brings its own", "--append ...")
    check_faults(fault or FOUNDING)
    for file in (own_kernel, own_vmlinux, own_initrd):
        if file is not None and not file.is_file():
            raise BadInput(f"{file} is not a file")
    initrd = own_initrd or _lab_initramfs(arch, listener, timing)
    if own_kernel is not None and own_vmlinux is not None:
        return Boot(own_kernel, own_vmlinux, initrd, None, own_initrd is None)
    built = lab_kernel.build(arch, listener, timing)
    return Boot(built.image, built.vmlinux, initrd, fault or FOUNDING, own_initrd is None)


def check_faults(names: str) -> None:
    """Check that a lab kernel will take these names for its `zapfault=`.

    Raises:
        BadInput: it would not.
    """
    for name in names.split(","):
        if name not in FAULTS:
            raise BadInput(f"no fault is called {name!r}", f"one of {', '.join(FAULTS)}")


def _lab_initramfs(arch: Arch, listener: Listener, timing: dict[str, float]) -> Path:
    with step("initramfs", "Make the initramfs", listener, timing):
        return initramfs.build(arch)
