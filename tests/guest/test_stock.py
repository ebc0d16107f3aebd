"""Debian's own kernels, without debug symbols: booted into the live Debian, and watched there."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from tests.guest import lab
from tests.guest.builders import PAGE_SIZE, PAGES, ROUNDS, removed_in_each_zap, touch
from tests.guest.lab import Lab
from vm import lab_kernel, live_guest, stock
from zaptrace.arch import arch_named
from zaptrace.elf.image import Image
from zaptrace.kernel import plan_for
from zaptrace.kernel.btf import Btf
from zaptrace.kernel.plan_from_btf import names_in, plan_without_debug_info
from zaptrace.model.errors import Missing
from zaptrace.model.progress import ignore

pytestmark = pytest.mark.guest

SUITE, VERSION = "13", "6.12"


def kernel_of(arch: str) -> stock.StockKernel:
    """The one that is kept, else the newest."""
    try:
        return stock.find(arch_named(arch), VERSION)
    except Missing:
        return stock.fetch(SUITE, arch_named(arch), ignore)


@pytest.fixture(scope="module")
def stock_lab(arch: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A guest with a stock kernel and no plan of it."""
    folder = tmp_path_factory.mktemp(f"stock-{arch}")
    plans = folder / "plans"
    plans.mkdir()
    request = live_guest.Request(arch_named(arch), kernel_of(arch), plans)
    with lab.running(request, folder) as guest:
        yield guest


def test_it_is_the_stock_kernel(stock_lab: Lab) -> None:
    assert stock_lab.output("uname -r").strip() == kernel_of(stock_lab.arch).release


def test_a_plan_is_made_of_what_the_kernel_shows(stock_lab: Lab) -> None:
    plan = json.loads(stock_lab.output("zaptrace probes --json"))
    schema = Path(__file__).parents[1] / "schemas" / "probes.schema.json"
    jsonschema.validate(plan, json.loads(schema.read_text()))
    events = {site["event"] for site in plan["sites"]}
    assert events == {"zap", "rmap_remove", "page_free", "bad_page", "bad_pte", "bad_table"}
    assert all(not site["inlined"] and site["source"] is None for site in plan["sites"])
    assert any("without debug info" in note for note in plan["notes"])
    symbols = {line.split()[2] for line in stock_lab.output("cat /proc/kallsyms").splitlines()}
    assert {site["symbol"] for site in plan["sites"]} <= symbols


@pytest.mark.parametrize("source", ["tracefs", "bcc"])
def test_exactly_23_pages_without_debug_info(stock_lab: Lab, source: str) -> None:
    recording, pid = stock_lab.recorded(f"--source {source}", lambda: touch(stock_lab))
    assert recording.status == 0, recording.errors
    # Pages that an interrupt frees (RCU) while another probe runs are missed, which is reported:
    # kprobes on ftrace (s390x) run with interrupts on.
    lost = [line["site_symbol"] for line in recording.lines if line["kind"] == "lost"]
    assert all("free" in symbol for symbol in lost), lost
    assert "without debug info" in recording.errors
    assert removed_in_each_zap(recording.lines, pid, PAGES) == [PAGES] * ROUNDS
    assert recording.replayed == recording.lines
    mine = [line for line in recording.lines if line.get("pid") == pid]
    assert all(line["mapcount"] >= 1 for line in mine if line["kind"] == "rmap_remove")
    assert all(line["pfn"] for line in mine if line["kind"] == "rmap_remove")


def test_modules_are_loaded_in_order(stock_lab: Lab) -> None:
    loaded = {line.split()[0] for line in stock_lab.output("cat /proc/modules").splitlines()}
    wanted = {path.stem.partition("-")[2] for path in kernel_of(stock_lab.arch).modules}
    assert wanted
    assert wanted <= loaded


HOLDER = """
import mmap, os, struct, time, ctypes
at = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
at[:5] = b"whole"
start = ctypes.addressof(ctypes.c_char.from_buffer(at))
with open("/proc/self/pagemap", "rb") as file:
    file.seek(start // mmap.PAGESIZE * 8)
    entry, = struct.unpack("=Q", file.read(8))
print(entry % (1 << 55), flush=True)
while not os.path.exists("/run/damaged"):
    time.sleep(0.1)
print(at[:5].decode(), flush=True)
"""


def test_its_memory_can_be_damaged_from_outside(stock_lab: Lab) -> None:
    """The matrix's faults are made so: the guest continues, with what was written."""
    script = base64.b64encode(HOLDER.encode()).decode()
    stock_lab.output(f"echo {script} | base64 -d >/run/holder.py")
    stock_lab.output("python3 /run/holder.py >/run/held 2>&1 &")
    stock_lab.until("grep -q . /run/held")
    pfn = int(stock_lab.output("cat /run/held"))
    stock_lab.damage(pfn * PAGE_SIZE, b"wrong")
    stock_lab.output("touch /run/damaged")
    stock_lab.until("grep -q '[a-z]' /run/held")
    assert stock_lab.output("cat /run/held").split()[1] == "wrong"


def test_the_doctor_attaches_every_probe(stock_lab: Lab) -> None:
    done = stock_lab.run("zaptrace doctor --json")
    assert done.status == 0, done
    checks = {check["name"]: check for check in json.loads(done.out)["checks"]}
    plan = json.loads(stock_lab.output("zaptrace probes --json"))
    for source in ("bcc", "tracefs"):
        assert checks[source]["works"], checks[source]
        for site in plan["sites"]:
            if (source, site["event"]) != ("bcc", "page_free"):  # it takes a tracepoint for these
                assert f"{site['event']} at {site['symbol']}" in checks[source]["says"]
    assert not [name for name in checks if name.startswith(("bcc ", "tracefs "))]  # none refused
    assert checks["BTF"]["works"]
    assert checks["debug symbols"]["fix"].startswith("apt-get install linux-image-")
    left = "ls /sys/kernel/tracing/instances; cat /sys/kernel/tracing/kprobe_events"
    assert stock_lab.output(left) == ""


def test_btf_says_what_debug_info_says(arch: str) -> None:
    """Of a kernel that has both: the lab's."""
    vmlinux = lab_kernel.build(arch_named(arch), ignore).vmlinux
    with Image(vmlinux) as image:
        raw = image.data(".BTF")
        assert raw is not None
        btf = Btf(raw, image.order)
        symbols = subprocess.run(["nm", vmlinux], check=True, capture_output=True).stdout
        told = plan_without_debug_info(
            names_in(symbols, linked=True), btf, image.arch, None, image.build_id()
        )
    dwarf = plan_for(vmlinux)
    assert told.offsets == dwarf.offsets
    assert told.boot_tracing == dwarf.boot_tracing
    known = {(site.event, site.symbol): site for site in dwarf.sites}
    for site in told.sites:
        if site.event == "zap":
            assert site.address == known["zap_enter", site.symbol].address
        elif site.event != "page_free":
            assert (site.args, site.address) == (
                known[site.event, site.symbol].args,
                known[site.event, site.symbol].address,
            )
    # With debug info a free is taken where free_pages_prepare() is inlined, without it at the
    # functions around; what comes in a batch is missing then, and named.
    freeing = {site.symbol for site in told.sites if site.event == "page_free"}
    assert freeing == {"free_unref_page", "__free_pages_ok"}
    assert [one.event for one in told.missing] == ["page_free"] and not dwarf.missing
    assert {site.event for site in told.sites} == {site.event for site in dwarf.sites} - {
        "zap_enter"
    }
