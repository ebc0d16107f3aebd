"""Where the sites are, against binutils, which has its own reader of debug info."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.kernel.conftest import VARIANTS, Mimic, compile_mimic, compiler
from zaptrace.elf.image import Image
from zaptrace.elf.symtab import Symbols
from zaptrace.kernel.caller_variables import passed_variables, runs_over_pmds
from zaptrace.kernel.context import Context
from zaptrace.kernel.dwarf.die_scan import Skimmer
from zaptrace.kernel.dwarf.dies import children, end_of, name_of
from zaptrace.kernel.dwarf.info import DebugInfo
from zaptrace.kernel.dwarf.inlined import InstanceFinder
from zaptrace.kernel.machinecode import decoder_of
from zaptrace.kernel.machinecode.boundary import starts_instruction
from zaptrace.kernel.plan import make_plan
from zaptrace.model.plan import ProbeSite

Frame = tuple[str, str]


def inline_chain(mimic: Mimic, address: int) -> list[Frame]:
    """(function, file:line) at an address, innermost first."""
    program = shutil.which(mimic.addr2line)
    if program is None:
        pytest.skip(f"{mimic.addr2line} is not installed: nothing to compare with")
    said = subprocess.run(
        [program, "-fie", mimic.path, hex(address)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [
        (function, f"{Path(place).name}".partition(" ")[0])
        for function, place in zip(said[::2], said[1::2], strict=True)
    ]


def test_inlined_sites_are_where_addr2line_sees_the_call(bare: Mimic) -> None:
    sites = [site for site in make_plan(bare.path).sites if site.event == "zap"]
    assert sorted((site.symbol, site.inlined) for site in sites) == [
        ("reclaim_range", True),
        ("unmap_page_range", True),
        ("zap_pte_range", False),
    ]
    for site in sites:
        assert_addr2line_agrees(bare, site)


def test_sites_in_other_units_than_the_source_are_found(tmp_path: Path) -> None:
    """Link-time optimisation leaves the functions in one unit and their code in another."""
    flags = "-O2 -gdwarf-5 -flto"
    path = compile_mimic(tmp_path, compiler("gcc"), flags, driver=True)
    plan = make_plan(path)
    sites = [site for site in plan.sites if site.event == "zap"]
    assert [site.inlined for site in sites].count(True) == 2
    for site in sites:
        assert_addr2line_agrees(Mimic("lto", path, "addr2line"), site)
    assert "page._mapcount" in plan.offsets


def assert_addr2line_agrees(mimic: Mimic, site: ProbeSite) -> None:
    assert site.address is not None
    assert site.source is not None
    chain = inline_chain(mimic, site.address)
    functions = [function for function, _ in chain]
    assert functions[-1] == site.symbol.partition(".")[0]
    number = functions.index("zap_pte_range")
    if site.inlined:
        # addr2line gives the line of an inlined call with the frame that called.
        assert chain[number + 1][1] == Path(site.source).name


def test_symbols_are_those_that_nm_lists(bare: Mimic) -> None:
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("nm is not installed: nothing to compare with")
    said = subprocess.run([nm, bare.path], capture_output=True, text=True, check=True).stdout
    functions = {
        name: int(address, 16)
        for address, kind, name in (line.split() for line in said.splitlines())
        if kind in "tT"
    }
    with Image(bare.path) as image:
        symbols = Symbols(image)
    for name, address in functions.items():
        if "." not in name:
            # "page" is the tail of many a name; only whole names count.
            assert address in [one.address for one in symbols.functions(name)]
            covering = symbols.covering(address + 1)
            assert covering is not None
            assert covering.address == address
    assert symbols.functions("range") == []
    assert symbols.covering(0) is None
    assert symbols.covering(2**64) is None


def test_instructions_begin_where_objdump_sees_them(bare: Mimic) -> None:
    with Image(bare.path) as image:
        (function,) = Symbols(image).functions("unmap_page_range")
        code = range(function.address, function.address + function.size)
        begins = {at for at in code if starts_instruction(image, function.address, at)}
    assert begins == set(disassembled(bare, "unmap_page_range"))


def test_instructions_continue_where_objdump_says(bare: Mimic) -> None:
    """Every instruction of the file, and where each branch leads to."""
    listing = disassembled(bare)
    with Image(bare.path) as image:
        section = image.sections[".text"]
        code = image.at(section.address, section.size)
        steps = {at: decoder_of(image.arch)(code, at - section.address) for at in listing}
    kinds = set()
    for at, text in listing.items():
        step = steps[at]
        assert step is not None, text
        kinds.add(step.kind)
        target = re.search(r"\b([0-9a-f]+) <", text)
        if step.kind in ("jump", "fork"):
            assert target is not None, text
            assert at + step.away == int(target[1], 16), text
        elif step.kind != "call":
            assert target is None or re.match(r"lar|lg|st|l[hg]?rl|jg?nop|exrl|.*%rip", text), text
    assert kinds >= {"plain", "call", "fork", "end"}


def disassembled(mimic: Mimic, function: str = "") -> dict[int, str]:
    """Address -> instruction, as binutils prints it."""
    with Image(mimic.path) as image:
        name = "s390x-linux-gnu-objdump" if image.arch.name == "s390x" else "objdump"
    objdump = shutil.which(name)
    if objdump is None:
        pytest.skip(f"{name} is not installed: nothing to compare with")
    wanted = [f"--disassemble={function}"] if function else ["-j", ".text"]
    command = [objdump, "-d", "-w", "--no-show-raw-insn", *wanted, str(mimic.path)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = re.findall(r"^ *([0-9a-f]+):\t(.*)$", listing, re.MULTILINE)
    return {int(at, 16): text for at, text in lines}


def test_skimming_sees_what_decoding_sees(bare: Mimic) -> None:
    with Image(bare.path) as image:
        info = DebugInfo(image)
        (cu,) = info.dwarf.iter_CUs()
        top = cu.get_top_DIE()
        decoded = [(die.offset, end, die.tag) for die, end in children(top)]
        skimmer = Skimmer(
            cu,
            info.data,
            image.arch.byteorder,
            lambda at: end_of(cu.get_DIE_from_refaddr(at)),
        )
        assert list(skimmer.outermost()) == decoded
    assert len(decoded) > 20


def test_without_address_ranges_every_unit_is_asked(bare: Mimic, tmp_path: Path) -> None:
    objcopy = shutil.which(
        "objcopy" if bare.addr2line == "addr2line" else "s390x-linux-gnu-objcopy"
    )
    if objcopy is None:
        pytest.skip("objcopy is not installed")
    without = tmp_path / "without"
    section = "--remove-section=.debug_aranges"
    subprocess.run([objcopy, section, bare.path, without], check=True)
    with Image(without) as image:
        assert ".debug_aranges" not in image.sections
    assert make_plan(without).sites == make_plan(bare.path).sites


def test_events_that_are_missing_are_named(bare: Mimic, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    data = bare.path.read_bytes()
    for name in (b"bad_page", b"zap_pte_range"):
        data = data.replace(name, name[::-1])
    renamed.write_bytes(data)
    plan = make_plan(renamed)
    # The mimic has nothing that clears bad entries of page tables.
    assert {"bad_page", "zap", "bad_table"} == {gap.event for gap in plan.missing}
    assert {site.event for site in plan.sites} == {"rmap_remove", "page_free", "bad_pte"}


@pytest.mark.parametrize("outermost", ["unmap_page_range", "__zap_vma_range"])
def test_what_the_outermost_function_passes_is_known(tmp_path: Path, outermost: str) -> None:
    flags = f"{VARIANTS['dwarf5']} -Dunmap_page_range={outermost}"
    with Image(compile_mimic(tmp_path, compiler("gcc"), flags, driver=False)) as image:
        context = Context.open(image)
        assert context.zap is not None
        instances = InstanceFinder(context.info, context.zap).instances()
        (inlined,) = [one for one in instances if name_of(one.path[0]) == outermost]
        assert runs_over_pmds(inlined)
        assert outermost in [caller for caller, _ in passed_variables(inlined, "tlb")]
