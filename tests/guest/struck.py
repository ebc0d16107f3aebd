"""A fault in a boot of any kernel: one page's _mapcount, lowered from outside the guest.

What `tests.matrix.fault` does to a live guest, here in a repro boot: the guest is
stopped when its init has said which page it maps, and continues with a page that
says one mapping less than there is.  The repro boot itself is the user's, step by
step, but for what stops the guest: that is wrapped.

    python -m tests.guest.struck ARCH --kernel IMAGE --vmlinux VMLINUX [options of repro]
"""

from __future__ import annotations

import asyncio
import re
import struct
import sys
import tempfile
from pathlib import Path
from unittest import mock

import drgn
from drgn.helpers.linux.mm import follow_phys

from tests.guest import lab
from tests.matrix.fault import mapcount
from vm.breakpoints import Stop, Stops, run_to
from vm.qemu import Guest
from zaptrace.cli.main import main
from zaptrace.memory.open import open_program
from zaptrace.memory.vmcore import standardise
from zaptrace.runs import repro_guest as runs_guest

SAYS = re.compile(rb"zaptrace: victim (\d+) page ([0-9a-f]+)\r?\n")
LOOK_SECONDS = 0.02
READY_SECONDS = 300.0
"""For the boot: a busy machine emulates slowly."""
CALL = {"s390x": "__s390x_sys_getpriority", "x86_64": "__x64_sys_getpriority"}
CODE = {
    # No such instruction, as BUG() has it on x86_64; a jump to itself.
    "oops": {"s390x": bytes.fromhex("0000"), "x86_64": bytes.fromhex("0f0b")},
    "hang": {"s390x": bytes.fromhex("a7f40000"), "x86_64": bytes.fromhex("ebfe")},
}


def initrd(arch: str, folder: Path) -> Path:
    """The root file system of such a guest."""
    return lab.initrd(lab.compiled(arch, lab.PROGRAMS / "struck.c", folder), folder)


class Striker:
    """Runs a repro guest as `vm.breakpoints.run_to` does, and strikes it in between.

    Args:
        vmlinux: the kernel's.
        code: what the victim's last system call does instead, one of CODE, or "".
    """

    def __init__(self, vmlinux: Path, code: str = "") -> None:
        self._vmlinux = vmlinux
        self._code = code

    async def run_to(
        self, guest: Guest, stops: Stops, seconds: float, also: asyncio.Task[None] | None = None
    ) -> Stop:
        """Run to the victim's page, strike it, run on: the time limit begins then."""
        said = asyncio.create_task(_said(guest.config.console))
        try:
            stop = await run_to(guest, stops, READY_SECONDS, said)
        finally:
            said.cancel()
        assert stop.ended == "timeout", f"{stop.ended} before the victim had its page"
        for address in stop.at:
            await guest.clear_breakpoint(address)
        await self._strike(guest)
        return await run_to(guest, stops, seconds, also)

    async def _strike(self, guest: Guest) -> None:
        found = SAYS.search(guest.config.console.read_bytes())
        assert found is not None, "the victim has no page"
        pfn = int(found[2], 16)
        with tempfile.TemporaryDirectory(prefix="zaptrace-") as folder:
            core = Path(folder) / "core"
            await guest.dump(core)
            standardise(core)
            prog = open_program(core, self._vmlinux)
            place, raw = mapcount(prog, pfn)
            call = _physical(prog, CALL[guest.config.arch.name])
            del prog
        assert raw == 0, f"page {pfn:#x} was mapped once, and its _mapcount is {raw}"
        order = ">" if guest.config.arch.name == "s390x" else "<"
        await guest.write_physical(place, struct.pack(f"{order}i", raw - 1))
        if self._code:
            await guest.write_physical(call, CODE[self._code][guest.config.arch.name])
        await guest.write_physical(pfn * 4096, b"\2")  # continue


def _physical(prog: drgn.Program, symbol: str) -> int:
    address: int = prog.symbol(symbol).address
    try:
        place = int(follow_phys(prog["init_mm"].address_of_(), address).value_())
    except drgn.FaultError:  # drgn 0.3.0, s390x's 6.1: there virtual is physical
        place = address
    assert prog.read(place, 64, physical=True) == prog.read(address, 64), f"{symbol} is elsewhere"
    return place


async def _said(console: Path) -> None:
    while not (console.exists() and SAYS.search(console.read_bytes())):
        await asyncio.sleep(LOOK_SECONDS)


def repro(arch: str, vmlinux: Path, *words: str, code: str = "") -> int:
    """`zaptrace repro` of a guest that is struck; its exit status."""
    with (
        tempfile.TemporaryDirectory(prefix="zaptrace-") as folder,
        mock.patch.object(runs_guest, "run_to", Striker(vmlinux, code).run_to),
    ):
        root = str(initrd(arch, Path(folder)))
        argv = ["repro", arch, "--vmlinux", str(vmlinux), "--initrd", root, "--no-tui", *words]
        return int(main(argv))


if __name__ == "__main__":
    at = sys.argv.index("--vmlinux")
    rest = sys.argv[2:at] + sys.argv[at + 2 :]
    sys.exit(repro(sys.argv[1], Path(sys.argv[at + 1]), *rest))
