"""KVM where it is proven to work, TCG everywhere else.

That /dev/kvm exists, opens and answers proves nothing: a nested host can still
fail to emulate the first instructions of a kernel, and QEMU then hangs with the
vCPU paused.  So a guest is booted under a short deadline, once per host kernel
and QEMU, and the outcome is remembered.  It is the kernel that is wanted, with
our own init: a user's would not report that it runs.

A guest that boots may still run through every breakpoint (KVM inside an
emulated CPU did), which would lose the instant of the bug.  Who needs a stop
has that proven too, at addresses that every boot comes by.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from vm import breakpoints, host, initramfs
from vm.breakpoints import Stops
from vm.qemu import GuestConfig, running
from zaptrace.model.errors import GuestLost
from zaptrace.model.paths import cache_home, scratch_folder, write_whole

KVM = Path("/dev/kvm")
PROOF_SECONDS = 15.0
TCG_SECONDS = 60.0
USER_SPACE = b"zaptrace: user space on"
"""What the lab's init says first."""
NOWHERE = Stops()


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What runs the guest's instructions, and why it and not the other."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} ({self.why})"


async def choose(config: GuestConfig, stops: Stops = NOWHERE) -> Accelerator:
    """Return the accelerator for a guest; its kernel proves KVM, if none has yet.

    Args:
        stops: where every boot comes by, when the guest is to be stopped at breakpoints: those
            are proven then.

    Raises:
        Missing, CannotTell: our init cannot be obtained.
    """
    machine = platform.machine()
    if machine != config.arch.name:
        return Accelerator("tcg", f"the host is {machine}")
    if not os.access(KVM, os.R_OK | os.W_OK):
        return Accelerator("tcg", f"{KVM} cannot be opened")
    key = f"{platform.release()} {host.output(config.arch.qemu, '--version').splitlines()[0]}"
    if stops.addresses:
        key += ", breakpoints"
    memory = cache_home() / "kvm.json"
    proofs: dict[str, bool] = json.loads(memory.read_bytes()) if memory.exists() else {}
    does = "stop a guest at a breakpoint" if stops.addresses else "boot a guest"
    if key not in proofs:
        works = await _proof(config, stops)
        if works is None:
            return Accelerator("tcg", f"nothing is known of KVM: TCG does not {does} either")
        proofs[key] = works
        write_whole(memory, json.dumps(proofs).encode())
    if proofs[key]:
        return Accelerator("kvm", f"it was seen to {does}")
    return Accelerator("tcg", f"KVM is there but does not {does}")


async def _proof(config: GuestConfig, stops: Stops) -> bool | None:
    """Prove whether KVM boots this guest's kernel and stops it at a breakpoint; None when that
    cannot be proven."""
    arch, initrd = config.arch, initramfs.build(config.arch)
    append = f"{arch.append} nokaslr"  # as `zaptrace repro` boots it
    proof = GuestConfig(arch, config.kernel, initrd, append, config.console)
    if await boots(dataclasses.replace(proof, accel="kvm"), stops):
        return True
    return False if await boots(proof, stops, TCG_SECONDS) else None


async def boots(config: GuestConfig, stops: Stops = NOWHERE, seconds: float | None = None) -> bool:
    """Return whether a guest comes to one of these stops, or reaches the lab's init, in time."""
    with scratch_folder() as folder:
        console = folder / "console.log"
        proof = dataclasses.replace(config, console=console)
        seconds = PROOF_SECONDS if seconds is None else seconds
        try:
            async with running(proof, folder / "qemu.log") as guest:
                ended = (await breakpoints.run_to(guest, stops, seconds)).ended
        except GuestLost:
            return False
        if stops.addresses:
            return ended == "breakpoint"
        return console.exists() and USER_SPACE in console.read_bytes()
