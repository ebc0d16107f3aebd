"""Stock kernels, struck from outside in a repro boot: stopped at bad_page() wherever they lie,
with the life of the page that was struck.

Debian's own packages, fetched once: nothing is compiled.  The newest s390x kernel has
one CPU here (docs/matrix.md says why).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.guest import struck
from vm import stock
from zaptrace.arch import arch_named
from zaptrace.memory.open import kernel_offset, open_program
from zaptrace.memory.registers import cpu_registers
from zaptrace.model.errors import Missing
from zaptrace.model.progress import ignore
from zaptrace.runs.folder import RunFolder
from zaptrace.runs.run_life import open_life

pytestmark = pytest.mark.slow

KERNELS = (
    ("s390x", "13", "6.12", "2"),
    ("x86_64", "13", "6.12", "2"),
    ("s390x", "13-backports", "7", "1"),
    ("x86_64", "13-backports", "7", "2"),
)


def kernel_of(arch: str, suite: str, version: str) -> stock.StockKernel:
    """The one that is kept with its debug symbols, else the newest."""
    try:
        found = stock.find(arch_named(arch), version)
    except Missing:
        found = None
    if found is not None and found.vmlinux.exists():
        return found
    return stock.fetch(suite, arch_named(arch), ignore, debug=True)


@pytest.mark.parametrize("placed", ["nokaslr", "kaslr"])
@pytest.mark.parametrize(("arch", "suite", "version", "smp"), KERNELS)
def test_the_guest_is_stopped_at_the_run_time_address(
    arch: str, suite: str, version: str, smp: str, placed: str, tmp_path: Path
) -> None:
    kernel = kernel_of(arch, suite, version)
    words = ["--kernel", str(kernel.image), "--run", str(tmp_path / "run"), "--smp", smp]
    words += ["--timeout", "300", *(["--kaslr"] if placed == "kaslr" else [])]
    assert struck.repro(arch, kernel.vmlinux, *words) == 1
    run = RunFolder(tmp_path / "run")
    facts, plan = run.facts(), run.plan()
    assert plan is not None
    assert facts.ended == "bad_page"
    prog = open_program(run.vmcore, kernel.vmlinux)
    assert kernel_offset(prog) == facts.kernel_offset  # VMCOREINFO says the same
    if placed == "kaslr":
        assert facts.kernel_offset
    (site,) = (site for site in plan.sites if site.event == "bad_page")
    assert site.address is not None
    (at,) = (one.address for one in prog.symbols(site.symbol))
    assert at == (site.address + (facts.kernel_offset or 0)) % 2**64
    assert at in {registers.pc for registers in cpu_registers(run.vmcore)}
    said = struck.SAYS.search(run.console.read_bytes())
    verdict = run.verdict()
    assert said is not None
    assert verdict is not None
    assert verdict["verdict"]["pfn"] == int(said[2], 16)
    lives = open_life(run)
    assert lives.unnamed is None and lives.complete is not None
    assert lives.complete.differ == 0  # what is recorded of each word is what the dump has
    writes = lives.page(verdict["verdict"]["pfn"]).writes
    assert writes[0].role == "allocated"
    assert "set_page_refcounted" in writes[0].functions()
