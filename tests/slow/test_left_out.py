"""One call left out of a function that no fault of the lab is in: the verdict names that function.

The guest's code is changed from outside, in a lab kernel without a fault: a call of the rmap's
becomes a no-op once user space runs.
"""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.guest import lab
from vm import lab_kernel
from vm.breakpoints import Stop, Stops, run_to
from vm.qemu import Guest
from zaptrace.arch import arch_named
from zaptrace.cli.main import main
from zaptrace.model.progress import ignore
from zaptrace.runs import repro_guest

pytestmark = pytest.mark.slow
BEGINS = b"zaptrace: user space on"
NOTHING = {"s390x": bytes.fromhex("c00400000000"), "x86_64": bytes.fromhex("0f1f440000")}
"""An instruction without effect that is as long as a call."""
OBJDUMP = {"s390x": "s390x-linux-gnu-objdump", "x86_64": "objdump"}
LINKED_AT = {"s390x": 0, "x86_64": 0xFFFFFFFF80000000}
"""The kernel's image: virtual address less physical address."""
LEFT_OUT = [
    # The function, what it does not call, the verdict, the function that it must name.
    ("try_to_merge_one_page", "page_remove_rmap", "mapping_leaked", "replace_page"),
    ("mfill_atomic_install_pte", "page_add_new_anon_rmap", "mapped_without_rmap", None),
    ("do_set_pte", "page_add_file_rmap", "mapped_without_rmap", None),
    ("wp_page_copy", "page_remove_rmap", "mapping_leaked", None),
]


def repro(arch: str, folder: Path, change: tuple[int, bytes] | None) -> dict[str, Any]:
    """`zaptrace repro` of a guest whose code is changed; its verdict."""
    program = lab.PROGRAMS / "mappings_of_many_kinds.c"
    root = lab.initrd(lab.compiled(arch, program, folder), folder)

    async def run(
        guest: Guest, stops: Stops, seconds: float, also: asyncio.Task[None] | None = None
    ) -> Stop:
        said = asyncio.create_task(_said(guest.config.console))
        stop = await run_to(guest, stops, seconds, said)
        said.cancel()
        assert stop.ended == "timeout", f"{stop.ended} before user space"
        for address in stop.at:
            await guest.clear_breakpoint(address)
        if change is not None:
            await guest.write_physical(*change)
        return await run_to(guest, stops, seconds, also)

    with mock.patch.object(repro_guest, "run_to", run):
        words = ["--fault", "none", "--initrd", str(root), "--stop-at", "exit", "--no-tui"]
        main(["repro", arch, *words, "--run", str(folder / "run")])
    found: dict[str, Any] = json.loads((folder / "run/verdict.json").read_text())["verdict"]
    return found


async def _said(console: Path) -> None:
    while not (console.exists() and BEGINS in console.read_bytes()):
        await asyncio.sleep(0.02)


def _call(arch: str, function: str, callee: str) -> tuple[int, bytes]:
    """Where a function's first call of another is in the guest's memory, and what comes there."""
    vmlinux = lab_kernel.build(arch_named(arch), ignore).vmlinux
    argv = [OBJDUMP[arch], "-d", f"--disassemble={function}", str(vmlinux)]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    line = next(one for one in text.splitlines() if re.search(rf"(brasl|call)\b.*<{callee}>", one))
    address, code = line.split("\t")[:2]
    assert len(code.split()) == len(NOTHING[arch])
    return int(address.strip(" :"), 16) - LINKED_AT[arch], NOTHING[arch]


@pytest.mark.parametrize(("function", "callee", "kind", "named"), LEFT_OUT)
@pytest.mark.parametrize("arch", NOTHING)
def test_a_function_that_forgets_the_rmap_is_named(
    arch: str, function: str, callee: str, kind: str, named: str | None, tmp_path: Path
) -> None:
    verdict = repro(arch, tmp_path, _call(arch, function, callee))
    assert (verdict["kind"], f"{named or function}() at " in verdict["summary"]) == (kind, True)


@pytest.mark.parametrize("arch", NOTHING)
def test_with_every_call_in_its_place_nothing_is_found(arch: str, tmp_path: Path) -> None:
    assert repro(arch, tmp_path, None)["kind"] == "clean"
