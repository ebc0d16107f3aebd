"""The lab itself: guests boot, hang, are dumped and are gone."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from pathlib import Path

import drgn
import pytest
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.printk import get_printk_records

from tests.guest.conftest import Boot
from vm import accel, initramfs
from vm.breakpoints import Stop, Stops, run_to
from vm.qemu import GuestConfig, command_line, running
from vm.relocation import Anchors
from zaptrace.arch import ARCHES
from zaptrace.memory.open import open_program
from zaptrace.runs import stops

pytestmark = pytest.mark.guest
CONSOLE_LOGLEVEL = 7
"""CONFIG_CONSOLE_LOGLEVEL_DEFAULT: the console shows what is more urgent than that."""

BUFFERED_NS = 100_000_000


def config(founding: Boot, tmp_path: Path, append: str = "") -> GuestConfig:
    arch = ARCHES[founding.arch]
    image = founding.vmlinux.parent / "image"
    words = f"{arch.append} nokaslr {append}"
    return GuestConfig(arch, image, initramfs.build(arch), words, tmp_path / "console.log")


def test_a_guest_runs_to_its_power_off(founding: Boot, tmp_path: Path) -> None:
    some = config(founding, tmp_path)

    async def go() -> str:
        async with running(some, tmp_path / "qemu.log") as guest:
            return await guest.run_until((), 60)

    assert asyncio.run(go()) == "exit"
    console = some.console.read_text()
    assert "zaptrace: workload ended with 0" in console
    assert "zaptrace: power off" in console


def test_the_console_has_what_the_kernel_s_log_has(founding_exit: Boot) -> None:
    """Also where reports of bugs follow each other faster than they can be sent.

    The oldest records may be half overwritten, and the last words come with the end: s390x sends
    what does not fill a buffer a tenth of a second later (drivers/s390/char/sclp_con.c).  Of a
    record that goes round the buffer's end drgn (0.3.0) reads the header with the text.
    """
    boot = founding_exit
    log = get_printk_records(open_program(boot.vmcore, boot.vmlinux))[-1001:-1]
    console = boot.console.read_text(errors="replace")
    sent = log[-1].timestamp - BUFFERED_NS
    for record in (one for one in log if one.timestamp <= sent):
        if record.level < CONSOLE_LOGLEVEL and b"\0" not in record.text:
            for line in record.text.decode(errors="replace").splitlines():
                assert line.rstrip() in console
    assert len(log) == 1000


def test_a_panic_is_distinguished_from_a_power_off(founding: Boot, tmp_path: Path) -> None:
    some = config(founding, tmp_path, "rdinit=/nothing init=/nothing")

    async def go() -> str:
        async with running(some, tmp_path / "qemu.log") as guest:
            return await guest.run_until((), 60)

    assert asyncio.run(go()) == "panic"


def test_a_breakpoint_stops_at_its_first_instruction(founding: Boot, tmp_path: Path) -> None:
    """The stop is at the address, and it comes before the function has run."""
    site = next(site for site in founding.plan.sites if site.event == "bad_page")
    assert site.address is not None
    some = config(founding, tmp_path, "zapfault=batch")

    async def go() -> str:
        async with running(some, tmp_path / "qemu.log") as guest:
            return await guest.run_until((site.address or 0,), 60)

    assert asyncio.run(go()) == "breakpoint"
    assert "Bad page state" not in some.console.read_text()


@pytest.mark.parametrize("by", [0, 0x100000, -0x300000])
def test_a_kernel_is_stopped_wherever_it_lies(founding: Boot, tmp_path: Path, by: int) -> None:
    """A vmlinux as if it had been linked elsewhere: its offset is found, and the stop is right."""
    plan = founding.plan
    linked = stops.of_the_bug(plan.moved(-by % 2**64), "bad_page")
    assert linked.anchors is not None
    vector, banner = plan.anchors["vector"] - by, plan.anchors["banner"] - by
    anchors = Anchors(vector, banner, linked.anchors.text)
    some = config(founding, tmp_path, "zapfault=batch")

    async def go() -> Stop:
        async with running(some, tmp_path / "qemu.log") as guest:
            return await run_to(guest, Stops(linked.addresses, anchors), 60)

    stop = asyncio.run(go())
    assert (stop.ended, stop.offset) == ("breakpoint", by % 2**64)
    assert stop.at == stops.of_the_bug(plan, "bad_page").addresses
    assert "Bad page state" not in some.console.read_text()


def test_an_accelerator_is_proven_by_a_boot(
    founding: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accel, "PROOF_SECONDS", 120.0)  # of KVM; this is TCG
    assert asyncio.run(accel.boots(config(founding, tmp_path)))


def test_an_accelerator_is_proven_to_stop_by_a_stop(
    founding: Boot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every healthy boot comes by there; by bad_page none does."""
    monkeypatch.setattr(accel, "PROOF_SECONDS", 120.0)
    healthy = config(founding, tmp_path)
    assert asyncio.run(accel.boots(healthy, stops.on_every_way(founding.plan)))
    assert not asyncio.run(accel.boots(healthy, stops.of_the_bug(founding.plan, "bad_page")))


@pytest.mark.parametrize("fault", ["rdinit=/nothing init=/nothing"])
def test_an_accelerator_that_does_not_reach_user_space_is_not(
    founding: Boot, tmp_path: Path, fault: str
) -> None:
    assert not asyncio.run(accel.boots(config(founding, tmp_path, fault)))


def test_vm_dump_of_a_guest_that_we_did_not_start(founding: Boot, tmp_path: Path) -> None:
    """A QEMU of the user's own: dumped through its monitor, and resumed afterwards."""
    some = dataclasses.replace(config(founding, tmp_path, "zaptrace.do=idle"), memory="256M")
    argv = command_line(some)
    socket = tmp_path / "qmp.sock"
    with subprocess.Popen(
        [*argv, "-qmp", f"unix:{socket},server=on,wait=off"], stdout=subprocess.PIPE
    ) as qemu:
        try:
            assert qemu.stdout is not None
            while b"zaptrace: idle" not in qemu.stdout.readline():
                assert qemu.poll() is None
            vmcore = tmp_path / "vmcore"
            program = [sys.executable, "-m", "zaptrace"]
            subprocess.run([*program, "vm", "dump", str(socket), str(vmcore)], check=True)
            assert vmcore.stat().st_mode & 0o777 == 0o600
            assert qemu.poll() is None
        finally:
            qemu.kill()
    prog = open_program(vmcore, founding.vmlinux)
    names = {task.comm.string_().decode() for task in for_each_task(prog)}
    assert {"init", "sleep"} & names


def test_plain_drgn_opens_the_vmcore_with_no_help(founding: Boot) -> None:
    """`drgn -c vmcore -s vmlinux`: it knows Linux, and follows user page tables."""
    script = (
        "from drgn.helpers.linux.mm import access_process_vm, for_each_vma\n"
        "from drgn.helpers.linux.pid import find_task\n"
        "print(prog['UTS_RELEASE'].string_().decode())\n"
        "task = find_task(prog, 1)\n"
        "stack = [vma for vma in for_each_vma(task.mm) if vma.vm_flags & 0x100][0]\n"
        "print(access_process_vm(task, stack.vm_end.value_() - 4096, 4096).count(b'init') > 0)\n"
    )
    program = Path(sys.executable).with_name("drgn")
    done = subprocess.run(
        [program, "-c", founding.vmcore, "-s", founding.vmlinux, "-e", script],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [founding.plan.release, "True"]
    assert (
        drgn.ProgramFlags.IS_LINUX_KERNEL in open_program(founding.vmcore, founding.vmlinux).flags
    )
