"""What the plan says is fetched from a program while it runs, and compared with what the
program says it passed: a breakpoint at each site, registers and memory as ftrace reads them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field

import pytest
from elftools.dwarf.die import DIE

from tests.unit.kernel.conftest import Mimic
from zaptrace.arch import ARCHES
from zaptrace.kernel.dwarf.dies import name_of, origin
from zaptrace.kernel.dwarf.location import VariableFinder
from zaptrace.kernel.dwarf.place import Place, Unavailable
from zaptrace.kernel.plan import make_plan
from zaptrace.model.plan import ProbeArg, ProbePlan, ProbeSite

PMD_SIZE = 0x200000
X86_64 = ARCHES["x86_64"]
Values = dict[str, int | str]


@dataclass
class Call:
    """One call that the driver made, with what it said and what the probes said."""

    function: str
    said: dict[str, int]
    hits: list[tuple[ProbeSite, Values]] = field(default_factory=list)
    caller: int | None = None


@dataclass
class Run:
    plan: ProbePlan
    objects: dict[str, int]
    offsets: dict[str, int]
    calls: list[Call]


def fetchable(arg: ProbeArg) -> bool:
    return arg.location is not None and not arg.at_entry and arg.location[0] != "\\"


def request_line(site: int, address: int, arg: ProbeArg) -> str:
    """The driver's words for a fetch argument."""
    assert arg.location is not None
    location, offsets = arg.location, list[str]()
    while found := re.fullmatch(r"([+-]\d+)\((.+)\)", location):
        offsets.insert(0, found[1])
        location = found[2]
    register = X86_64.dwarf_registers.index(location.removeprefix("%"))
    kind = "s" if arg.type == "string" else "v"
    return f"{site} {address:x} {kind} {register} {' '.join(offsets)}\n"


def typed(raw: str, arg: ProbeArg) -> int | str:
    if arg.type == "string":
        return raw.strip('"')
    assert arg.type is not None
    bits = int(arg.type[1:])
    value: int = (int(raw, 16) + arg.addend) % 2**bits
    return value - 2**bits if arg.type[0] == "s" and value >> (bits - 1) else value


def run_probed(mimic: Mimic) -> Run:
    plan = make_plan(mimic.path)
    lines = []
    for number, site in enumerate(plan.sites):
        assert site.address is not None
        lines += [
            request_line(number, site.address, arg) for arg in site.args.values() if fetchable(arg)
        ]
    done = subprocess.run(
        [mimic.path], input="".join(lines), capture_output=True, text=True, timeout=30, check=True
    )
    run = Run(plan, {}, {}, [])
    for line in done.stdout.splitlines():
        read_line(line, run)
    assert done.stdout.endswith("end\n")
    return run


def read_line(line: str, run: Run) -> None:
    word, _, rest = line.partition(" ")
    said = {name: int(value, 16) for name, value in re.findall(r"(\S+)=(-?[0-9a-f]+)", rest)}
    if word == "objects":
        run.objects = said
    elif word == "offsets":
        run.offsets = said
    elif word == "call":
        run.calls.append(Call(rest.split()[0], said))
    elif word == "caller":
        run.calls[-1].caller = int(rest.split()[1], 16)
    elif word == "hit":
        number, *raw = re.findall(r'"[^"]*"|\S+', rest)
        site = run.plan.sites[int(number)]
        fetched = [(name, arg) for name, arg in site.args.items() if fetchable(arg)]
        values: Values = {
            name: typed(value, arg) for (name, arg), value in zip(fetched, raw, strict=True)
        }
        run.calls[-1].hits.append((site, values))


@pytest.fixture(scope="module")
def run(runnable: Mimic) -> Run:
    return run_probed(runnable)


def joined(call: Call) -> list[Values]:
    """The zaps of a call, with what only their zap_enter had."""
    zaps, enter = [], Values()
    for site, values in call.hits:
        if site.event == "zap_enter":
            enter = values
        elif site.event == "zap":
            whole = {name: value for name, value in values.items() if name != "caller"}
            for name, arg in site.args.items():
                if arg.at_entry:
                    whole[name] = arg.value(int(enter[name]), int(values.get("end", 0)))
                elif arg.location is not None and arg.location[0] == "\\":
                    whole[name] = int(arg.location[1:])
            zaps.append(whole)
    return zaps


def pieces(start: int, end: int) -> list[tuple[int, int]]:
    """[start, end) cut at PMDs."""
    found = []
    while start < end:
        cut = min(start // PMD_SIZE * PMD_SIZE + PMD_SIZE, end)
        found.append((start, cut))
        start = cut
    return found


def expected_zaps(call: Call, objects: dict[str, int]) -> list[dict[str, int]]:
    """What zap_pte_range is passed in a call, from the driver's words."""
    common = {name: objects[name] for name in ("tlb", "vma", "mm", "details")}
    ranges = [(call.said["addr"], call.said["end"])]
    first = {"reclaim_range": 1, "zap_pte_range": 2}.get(call.function, 0)
    if call.function == "unmap_page_range":
        ranges = pieces(*ranges[0])
    if call.function == "reclaim_range":
        common["details"] = 0
    return [
        common | {"addr": start, "end": end, "pmd": objects["pmds"] + 8 * (first + number)}
        for number, (start, end) in enumerate(ranges)
    ]


def test_every_zap_is_seen_once_with_the_arguments_that_were_passed(run: Run) -> None:
    zapping = [call for call in run.calls if "end" in call.said]
    assert [call.function for call in zapping] == [
        "unmap_page_range",
        "unmap_page_range",
        "reclaim_range",
        "zap_pte_range",
    ]
    for call in zapping:
        found, expected = joined(call), expected_zaps(call, run.objects)
        assert len(found) == len(expected), call
        for values, truth in zip(found, expected, strict=True):
            assert values == {name: truth[name] for name in values}, call
            # Nothing that a verdict needs is lost in any of these programs.
            assert {"tlb", "vma", "mm", "addr", "end"} <= values.keys(), call


def test_what_is_not_had_says_why(run: Run) -> None:
    for site in run.plan.sites:
        for arg in site.args.values():
            assert (arg.location is None) == (arg.type is None)
            if arg.location is None:
                assert arg.note


def entry_hit(run: Run, function: str, number: int = 0) -> tuple[Call, Values]:
    call = [call for call in run.calls if call.function == function][number]
    (values,) = [
        values
        for site, values in call.hits
        if site.function == function and site.offset == 0 and not site.inlined
    ]
    return call, values


@pytest.mark.parametrize("function", ["page_remove_rmap", "folio_remove_rmap_range"])
def test_rmap_removal(run: Run, function: str) -> None:
    call, values = entry_hit(run, function)
    expected = {name: run.objects[name] for name in ("page", "vma", "mm")}
    expected |= {"raw_mapcount": call.said["mapcount"], "refcount": call.said["refcount"]}
    if function == "folio_remove_rmap_range":
        expected |= {"folio": run.objects["folio"], "nr": 5}
    assert call.caller
    assert values == expected | {"caller": call.caller}


@pytest.mark.parametrize(
    ("number", "mapcount", "reason"), [(0, 0, "nonzero mapcount"), (1, -1, "nonzero _refcount")]
)
def test_free_and_bad_page(run: Run, number: int, mapcount: int, reason: str) -> None:
    call, values = entry_hit(run, "free_unref_page", number)
    common = {"page": run.objects["page"], "raw_mapcount": mapcount, "refcount": 8}
    assert {name: values[name] for name in (*common, "order")} == common | {"order": 3}
    ((site, bad),) = [hit for hit in call.hits if hit[0].event == "bad_page"]
    assert site.function == "bad_page"
    assert {name: bad[name] for name in (*common, "reason")} == common | {"reason": reason}


def test_bad_pte(run: Run) -> None:
    _, values = entry_hit(run, "print_bad_pte")
    del values["caller"]
    expected = {name: run.objects[name] for name in ("page", "vma", "mm")}
    expected |= {"addr": 0xABC000, "pte": 0x123456, "raw_mapcount": -1, "refcount": 8}
    assert values == expected


def test_entry_of_the_enclosing_function(run: Run) -> None:
    sites = [site for site in run.plan.sites if site.event == "zap_enter"]
    needed = any(arg.at_entry for site in run.plan.sites for arg in site.args.values())
    assert [site.symbol for site in sites] == ["unmap_page_range"] * needed
    for call in run.calls:
        for _, values in [hit for hit in call.hits if hit[0].event == "zap_enter"]:
            truth = call.said | run.objects | {"caller": call.caller}
            assert values == {name: truth[name] for name in values}
            assert {"vma", "addr", "end", "mm", "caller"} <= values.keys()


@pytest.mark.parametrize("lost", ["in zap_pte_range", "addr everywhere"])
def test_arguments_that_debug_info_has_lost(
    runnable: Mimic, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the callers pass stands in for a lost parameter; a lost address is cut at PMDs."""
    found = VariableFinder.place

    def place(self: VariableFinder, variable: DIE, function: DIE, pc: int) -> Place:
        owner = origin(variable).get_parent()
        assert owner is not None
        inside = lost == "in zap_pte_range" and name_of(owner) == "zap_pte_range"
        if inside or (lost == "addr everywhere" and name_of(variable) in ("addr", "from")):
            raise Unavailable("lost")
        return found(self, variable, function, pc)

    monkeypatch.setattr(VariableFinder, "place", place)
    run = run_probed(runnable)
    calls = [call for call in run.calls if call.function == "unmap_page_range"]
    for call in calls:
        expected = expected_zaps(call, run.objects)
        for values, truth in zip(joined(call), expected, strict=True):
            assert values == {name: truth[name] for name in values}
            assert {"tlb", "vma", "mm", "addr", "end", "details"} <= values.keys()
    (site,) = [site for site in run.plan.sites if site.symbol == "reclaim_range"]
    # What reclaim_range() passes we do not know: nothing is guessed there.
    assert site.args["addr"].location is None
    assert site.args["addr"].note == "lost"


def test_offsets_are_the_compilers(run: Run) -> None:
    offsets = {name: at for name, at in run.plan.offsets.items() if "sizeof" not in name}
    assert offsets == run.offsets
    assert run.plan.offsets["sizeof page"] == 56


def test_identity(runnable: Mimic, run: Run) -> None:
    notes = subprocess.run(
        ["readelf", "-nW", runnable.path], capture_output=True, text=True, check=True
    ).stdout
    assert f"Build ID: {run.plan.build_id}" in notes
    assert (run.plan.release, run.plan.arch) == ("6.1.0-mimic", "x86_64")


def test_variants_differ_in_what_they_test(run: Run, runnable: Mimic) -> None:
    """Guards the guard: the variants must still exercise what they are for."""
    zaps = [site for site in run.plan.sites if site.event == "zap"]
    assert [site.inlined for site in zaps].count(True) == 2
    args = [arg for site in zaps for arg in site.args.values()]
    if runnable.variant == "entry-values":
        assert any(arg.at_entry for arg in args)
    if runnable.variant == "stack":
        assert any("(%sp)" in (arg.location or "") for arg in args)
    clones = [site.symbol for site in run.plan.sites if "." in site.symbol]
    assert clones == (["bad_page.constprop.0"] if runnable.variant == "dwarf5" else clones)
