"""The probe plan of a real kernel, argument by argument, beside what `perf probe` says of it."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.guest.conftest import Boot
from zaptrace.kernel import plan_for
from zaptrace.kernel.plan import make_plan
from zaptrace.model.kprobe_names import recorded_args
from zaptrace.model.plan import ProbePlan, ProbeSite

pytestmark = pytest.mark.guest

COLD_SECONDS, CACHED_SECONDS = 1.0, 0.05
_DEFINITION = re.compile(r"^p:\S+ (?P<symbol>[^+\s]+)\+(?P<offset>\d+)(?P<args>.*)$", re.MULTILINE)
_ARGUMENT = re.compile(r"(\w+)=(\S+):\w+")
SECOND_ARGUMENT = {"s390x": "%r3", "x86_64": "%si"}
WANTED = ("tlb", "vma", "pmd", "addr", "end", "details")


@pytest.fixture(scope="session")
def plan(founding: Boot) -> ProbePlan:
    """Made anew: what a run or the cache kept may be older."""
    return make_plan(founding.vmlinux)


def asked_of_perf(vmlinux: Path, function: str, argument: str) -> tuple[str, int, str] | None:
    """Symbol, offset and location as perf has them; None when it gives up."""
    return next(iter(all_of_perf(vmlinux, function, argument)), None)


def all_of_perf(vmlinux: Path, function: str, argument: str) -> list[tuple[str, int, str]]:
    """The same of every place where a function is; empty when perf gives up."""
    perf = shutil.which("perf")
    if perf is None:
        pytest.skip("perf is not installed (Debian: linux-perf): no peer to compare with")
    command = [perf, "probe", "-k", str(vmlinux), "-D", f"{function} {argument}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        return []
    return [
        (found["symbol"], int(found["offset"]), dict(_ARGUMENT.findall(found["args"]))[argument])
        for found in _DEFINITION.finditer(done.stdout)
    ]


def zap_sites(plan: ProbePlan) -> list[ProbeSite]:
    return [site for site in plan.sites if site.event == "zap"]


def test_zap_pte_range_is_where_perf_finds_it(founding: Boot, plan: ProbePlan) -> None:
    (site,) = zap_sites(plan)
    answers = {name: asked_of_perf(founding.vmlinux, "zap_pte_range", name) for name in WANTED}
    answered = {name: found for name, found in answers.items() if found is not None}
    assert {"tlb", "pmd", "end"} <= answered.keys()
    for name, found in answered.items():
        assert (site.symbol, site.offset, site.args[name].location) == found, name


def test_what_perf_gives_up_on_is_had(founding: Boot, plan: ProbePlan) -> None:
    (site,) = zap_sites(plan)
    # The entry value of a register: perf says "we don't support this variable location yet".
    assert asked_of_perf(founding.vmlinux, "zap_pte_range", "vma") is None
    assert (site.args["vma"].location, site.args["vma"].at_entry) == (
        SECOND_ARGUMENT[founding.arch],
        True,
    )
    assert all(site.args[name].location for name in ("tlb", "vma", "pmd", "addr", "end", "mm"))
    (enter,) = [one for one in plan.sites if one.event == "zap_enter"]
    at_entry = {name for name, arg in site.args.items() if arg.at_entry}
    assert at_entry <= enter.args.keys()
    assert (enter.symbol, enter.offset) == (site.symbol, 0)


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        ("page_remove_rmap", ("page", "vma")),
        ("folio_remove_rmap_range", ("folio", "page", "nr", "vma")),
        ("bad_page", ("page",)),
        ("print_bad_pte", ("vma", "addr", "pte", "page")),
    ],
)
def test_function_entries_are_where_perf_finds_them(
    founding: Boot, plan: ProbePlan, function: str, parameters: tuple[str, ...]
) -> None:
    (site,) = [one for one in plan.sites if one.function == function]
    for name in parameters:
        found = asked_of_perf(founding.vmlinux, function, name)
        assert found == (site.symbol, site.offset, site.args[name].location), name


def test_the_run_used_this_plan(founding: Boot, plan: ProbePlan) -> None:
    assert founding.plan == plan


def test_what_others_build_on_is_there(plan: ProbePlan) -> None:
    assert plan.offsets.keys() >= {
        "sizeof page",
        "page._mapcount",
        "page._refcount",
        "page.flags",
        "vm_area_struct.vm_mm",
        "mmu_gather.mm",
        "mm_struct.pgd",
    }
    kinds = {"zap", "zap_enter", "rmap_remove", "page_free", "bad_page", "bad_pte", "bad_table"}
    assert {site.event for site in plan.sites} == kinds


def test_each_page_freed_passes_a_site(plan: ProbePlan) -> None:
    """Also those freed by the list: free_pages_prepare() is watched wherever it is inlined."""
    sites = [site for site in plan.sites if site.event == "page_free"]
    assert len(sites) > 1
    for site in sites:
        assert site.function == "free_pages_prepare"
        assert {"page", "raw_mapcount", "refcount", "order"} <= recorded_args(site).keys()
    assert not [gap for gap in plan.missing if gap.event == "page_free"]


@pytest.mark.parametrize("argument", ["page", "order"])
def test_perf_finds_the_same_sites_of_frees(founding: Boot, plan: ProbePlan, argument: str) -> None:
    ours = {
        (site.symbol, site.offset, site.args[argument].location)
        for site in plan.sites
        if site.event == "page_free"
    }
    assert set(all_of_perf(founding.vmlinux, "free_pages_prepare", argument)) == ours


def test_resolution_is_quick(founding: Boot, tmp_path: Path) -> None:
    """CPU time, the best of three: what else the machine does must not decide."""
    cold, cached = [], []
    for number in range(3):
        started = time.process_time()
        plan = plan_for(founding.vmlinux, tmp_path / str(number))
        middle = time.process_time()
        assert plan_for(founding.vmlinux, tmp_path / str(number)) == plan
        cold.append(middle - started)
        cached.append(time.process_time() - middle)
    assert min(cold) < COLD_SECONDS
    assert min(cached) < CACHED_SECONDS
