"""Debian's own kernels, without debug symbols: booted into the live Debian, and watched there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.guest import lab
from tests.guest.lab import Lab
from tests.guest.test_live import PAGES, ROUNDS, removed_in_each_zap, touch
from vm import live, stock
from vm.arch import arch_named
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
    request = live.Request(arch_named(arch), kernel_of(arch), plans)
    with lab.running(request, folder) as guest:
        yield guest


def test_it_is_the_stock_kernel(stock_lab: Lab) -> None:
    assert stock_lab.output("uname -r").strip() == kernel_of(stock_lab.arch).release


def test_a_plan_is_made_of_what_the_kernel_tells(stock_lab: Lab) -> None:
    plan = json.loads(stock_lab.output("zaptrace probes --json"))
    events = {site["event"] for site in plan["sites"]}
    assert events == {"zap", "rmap_remove", "page_free", "bad_page", "bad_pte"}
    assert all(not site["inlined"] and site["source"] is None for site in plan["sites"])
    assert any("without debug info" in note for note in plan["notes"])
    symbols = {line.split()[2] for line in stock_lab.output("cat /proc/kallsyms").splitlines()}
    assert {site["symbol"] for site in plan["sites"]} <= symbols


@pytest.mark.parametrize("source", ["tracefs", "bcc"])
def test_exactly_23_pages_without_debug_info(stock_lab: Lab, source: str) -> None:
    recording, pid = stock_lab.recorded(f"--source {source}", lambda: touch(stock_lab))
    assert recording.status == 0, recording.errors
    assert "LOST" not in recording.errors
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
