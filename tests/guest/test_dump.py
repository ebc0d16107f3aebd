"""A real dump of a real bug: proper for drgn, and right by the kernel's own word."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import drgn
import pytest

from tests.guest.conftest import Boot
from zaptrace.arch import ARCHES
from zaptrace.kernel import build_id
from zaptrace.memory.open import open_program
from zaptrace.memory.pages import page_layout, ram_ranges
from zaptrace.memory.registers import CpuRegisters, cpu_registers
from zaptrace.memory.resolve import code_site
from zaptrace.memory.stopped_stack import stack_of
from zaptrace.memory.vmcore import standardise
from zaptrace.model.errors import BadInput

pytestmark = pytest.mark.guest

MEMORY = 512 << 20  # what a lab guest has

PLAIN_DRGN = """
from drgn.helpers.linux import cmdline, find_task
print(prog["UTS_RELEASE"].string_().decode())
print(cmdline(find_task(prog, 1)))
"""


@pytest.fixture(scope="module")
def prog(founding: Boot) -> drgn.Program:
    return open_program(founding.vmcore, founding.vmlinux)


@pytest.fixture(scope="module")
def stopped(founding: Boot, prog: drgn.Program) -> CpuRegisters:
    """The CPU that stands at bad_page's first instruction."""
    bad_page = prog.symbol("bad_page").address
    (cpu,) = (cpu for cpu in cpu_registers(founding.vmcore) if cpu.pc == bad_page)
    return cpu


def test_plain_drgn_opens_it_with_no_help(founding: Boot, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PLAIN_DRGN)
    program = Path(sys.executable).with_name("drgn")
    argv: list[str | Path] = [program, "-q", "-c", founding.vmcore]
    argv += ["-s", founding.vmlinux, script]
    told = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 0, told.stderr
    release, words = told.stdout.splitlines()
    assert f"Linux version {release} " in founding.console.read_text(errors="replace")
    # The words lie in a user page: found by way of the process's page tables.
    assert "/init" in words


def test_once_is_enough(founding: Boot) -> None:
    before = founding.vmcore.stat()
    standardise(founding.vmcore)
    after = founding.vmcore.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def test_all_of_the_memory_is_there(founding: Boot, prog: drgn.Program) -> None:
    ram = ram_ranges(prog)
    if founding.arch == "s390x":
        assert ram == [range(MEMORY)]
    else:  # the firmware keeps some of it, and the BIOS area is not RAM
        assert 0.99 * MEMORY < sum(map(len, ram)) < MEMORY
    layout = page_layout(prog)
    assert [len(span) for span in layout.valid] == [MEMORY >> layout.page_shift]


def test_the_stopped_cpu_s_stack_is_what_the_kernel_prints_itself(
    founding: Boot, prog: drgn.Program, stopped: CpuRegisters
) -> None:
    if founding.arch != "s390x":
        pytest.skip("x86_64 prints no addresses; test_stop.py compares the symbols")
    # Let go after the dump, the kernel reports the page with this very stack.
    console = founding.console.read_text(errors="replace")
    report = console[console.index("BUG: Bad page state") :]
    trace = report[report.index("bad_page+") :].split("Last Breaking-Event-Address")[0]
    printed = [int(found, 16) for found in re.findall(r"\[<([0-9a-f]{16})>\]", trace)]
    stack = stack_of(prog, stopped)
    assert len(stack) > 5
    assert list(stack) == printed[: len(stack)]


def test_source_lines_and_inlines_are_addr2line_s(
    founding: Boot, prog: drgn.Program, stopped: CpuRegisters
) -> None:
    addr2line = f"{ARCHES[founding.arch].cross}addr2line"
    for address in stack_of(prog, stopped):
        told = subprocess.run(
            [addr2line, "-e", founding.vmlinux, "-f", "-i", hex(address - 1)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        expected = list(zip(told[::2], told[1::2], strict=True))
        site = code_site(prog, address)
        assert len(site.inline_chain) == len(expected)
        for ours, (function, place) in zip(site.inline_chain, expected, strict=True):
            name, _, path = ours.partition(" at ")
            assert place.split(" (discriminator")[0].endswith("/" + path)
            assert name == function or path.split(":")[0].endswith(".S")  # no DWARF there


def test_another_builds_vmlinux_is_refused(founding: Boot, tmp_path: Path) -> None:
    wanted = build_id(founding.vmlinux)
    assert wanted is not None
    content = founding.vmlinux.read_bytes()
    other = wanted[:-2] + ("00" if wanted[-2:] != "00" else "ff")
    foreign = tmp_path / "vmlinux"
    foreign.write_bytes(content.replace(bytes.fromhex(wanted), bytes.fromhex(other)))
    with pytest.raises(BadInput) as caught:
        open_program(founding.vmcore, foreign)
    assert wanted in str(caught.value)
    assert other in str(caught.value)


def test_a_truncated_dump_is_refused(founding: Boot, tmp_path: Path) -> None:
    torn = tmp_path / "vmcore"
    subprocess.run(["cp", "--sparse=always", founding.vmcore, torn], check=True)
    with torn.open("r+b") as file:
        file.truncate(torn.stat().st_size - 100)
    with pytest.raises(BadInput, match="truncated"):
        open_program(torn, founding.vmlinux)
