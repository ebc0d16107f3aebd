"""KVM where it is proven to work, TCG everywhere else.

That /dev/kvm exists, opens and answers proves nothing: a nested host can still
fail to emulate the first instructions of a kernel, and QEMU then hangs with the
vCPU paused.  So the lab's own guest is booted under a short deadline, once per
host kernel, QEMU and lab kernel, and the outcome is remembered.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vm import host, initramfs
from vm.arch import Arch
from vm.kernel import Kernel, cached
from vm.qemu import GuestConfig, running
from zaptrace.model.errors import GuestLost, ZaptraceError
from zaptrace.model.paths import cache_home, write_whole
from zaptrace.model.progress import Listener, ignore, step

KVM = Path("/dev/kvm")
PROOF_SECONDS = 15.0
USER_SPACE = b"zaptrace: user space on"
"""What the lab's init says first."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What runs the guest's instructions, and why it and not the other."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} ({self.why})"


async def choose(arch: Arch, listener: Listener = ignore) -> Accelerator:
    """The accelerator for guests of an architecture, whatever kernel and root they have.

    Only a guest of the lab's can prove KVM: what a user's own kernel and root
    print, or do not, says nothing of it.
    """
    machine = platform.machine()
    if machine != arch.name:
        return Accelerator("tcg", f"the host is {machine}")
    if not os.access(KVM, os.R_OK | os.W_OK):
        return Accelerator("tcg", f"{KVM} cannot be opened")
    kernel = cached(arch)
    if kernel is None:
        how = f"zaptrace vm kernel build {arch.name}"
        return Accelerator("tcg", f"KVM is not proven here, that takes {how}")
    try:
        proven = await _remembered(arch, kernel, listener)
    except ZaptraceError as error:  # the user's guest may well boot without what the proof lacks
        return Accelerator("tcg", f"KVM is not proven here: {error}")
    if proven:
        return Accelerator("kvm", "a guest was seen to boot with it")
    return Accelerator("tcg", "KVM is there but does not boot a guest")


async def _remembered(arch: Arch, kernel: Kernel, listener: Listener) -> bool:
    """The outcome of the proof by this host kernel, QEMU and guest; made now if there is none."""
    qemu = host.output(arch.qemu, "--version").splitlines()[0]
    key = f"{platform.release()} {qemu} {kernel.folder.name}"
    memory = cache_home() / "kvm.json"
    proofs: dict[str, bool] = json.loads(memory.read_bytes()) if memory.exists() else {}
    if key not in proofs:
        with step("kvm", "Prove KVM by booting a guest", listener) as current:
            append = f"{arch.append} zapfault=none"
            initrd, nowhere = initramfs.build(arch), Path(os.devnull)
            proof = GuestConfig(arch, kernel.image, initrd, append, nowhere, accel="kvm")
            proofs[key] = await boots(proof)
            current.note = "it boots" if proofs[key] else "it does not boot"
        write_whole(memory, json.dumps(proofs).encode())
    return proofs[key]


async def boots(config: GuestConfig) -> bool:
    """Does this guest reach the lab's init within the deadline?  Its console is not kept."""
    with tempfile.TemporaryDirectory(prefix="zaptrace-") as folder:
        console = Path(folder) / "console.log"
        proof = dataclasses.replace(config, console=console)
        try:
            async with running(proof, Path(folder) / "qemu.log") as guest:
                await guest.run_until((), PROOF_SECONDS)
        except GuestLost:
            return False
        return console.exists() and USER_SPACE in console.read_bytes()
