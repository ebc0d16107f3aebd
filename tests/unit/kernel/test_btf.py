"""BTF made by pahole, and plans made of it, beside those that DWARF gives for the same file."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.documents import validate
from tests.unit.kernel.conftest import Mimic, compiler
from zaptrace.arch import ARCHES, Arch
from zaptrace.kernel.btf import Btf
from zaptrace.kernel.plan import make_plan
from zaptrace.kernel.plan_from_btf import (
    NO_BTF,
    Names,
    names_in,
    offsets_in,
    plan_without_debug_info,
)
from zaptrace.model.errors import BadInput
from zaptrace.model.plan import ProbePlan


def encoded(elf: Path, folder: Path) -> bytes:
    """The BTF that a kernel build would put into this file."""
    pahole = shutil.which("pahole")
    if pahole is None:
        pytest.skip("pahole is not installed (Debian: dwarves): nothing encodes BTF")
    out = folder / "btf"
    subprocess.run([pahole, "-J", f"--btf_encode_detached={out}", str(elf)], check=True, timeout=60)
    return out.read_bytes()


def system_map(mimic: Mimic) -> bytes:
    nm = mimic.addr2line.replace("addr2line", "nm")
    return subprocess.run([nm, str(mimic.path)], check=True, capture_output=True).stdout


def arch_of_plan(plan: ProbePlan) -> Arch:
    return ARCHES[plan.arch]


def order(plan: ProbePlan) -> str:
    return arch_of_plan(plan).order


def told(mimic: Mimic, dwarf: ProbePlan, folder: Path) -> ProbePlan:
    btf = Btf(encoded(mimic.path, folder), order(dwarf))
    names = names_in(system_map(mimic), linked=True)
    return plan_without_debug_info(names, btf, arch_of_plan(dwarf), dwarf.release, dwarf.build_id)


def test_entries_are_as_dwarf_has_them(bare: Mimic, tmp_path: Path) -> None:
    dwarf = make_plan(bare.path)
    plan = told(bare, dwarf, tmp_path)
    entries = {one.symbol: one for one in dwarf.sites if one.event not in ("zap", "zap_enter")}
    mine = {one.symbol: one for one in plan.sites if one.event != "zap"}
    assert mine
    assert mine.keys() == {symbol for symbol in entries if "." not in symbol}
    for symbol, site in mine.items():
        assert site.args == entries[symbol].args, symbol
        assert (site.address, site.event) == (entries[symbol].address, entries[symbol].event)
        assert (site.source, site.inlined) == (None, False)


def test_offsets_are_as_dwarf_has_them(bare: Mimic, tmp_path: Path) -> None:
    dwarf = make_plan(bare.path)
    assert told(bare, dwarf, tmp_path).offsets == dwarf.offsets
    assert dwarf.offsets["page._mapcount"] == 48


@pytest.mark.parametrize("member", ["compound_info", "compound_head"])
def test_where_a_tail_page_names_its_head_is_known_by_each_name(
    member: str, tmp_path: Path
) -> None:
    """compound_info since 7.1: `live --anonymous` was refused there."""
    source = f"""
        struct page {{
            unsigned long flags;
            union {{ struct {{ unsigned long {member}; }}; void *lru[2]; }};
            int _mapcount, _refcount;
        }} page;
    """
    command = [compiler("gcc"), "-g", "-c", "-x", "c", "-", "-o", str(tmp_path / "page.o")]
    subprocess.run(command, input=source, text=True, check=True, timeout=60)
    found = offsets_in(Btf(encoded(tmp_path / "page.o", tmp_path), "<"))
    assert found["page.compound_head"] == 8


def test_of_what_is_inlined_the_function_around_is_taken(bare: Mimic, tmp_path: Path) -> None:
    dwarf = make_plan(bare.path)
    (zap,) = (site for site in told(bare, dwarf, tmp_path).sites if site.event == "zap")
    around = {site.symbol for site in dwarf.sites if site.event == "zap"}
    assert zap.symbol in around | {"unmap_page_range"}
    assert zap.args["mm"].location == f"+8(%{arch_of_plan(dwarf).argument_registers[0]})"
    assert {"addr", "end", "vma", "tlb", "caller"} <= zap.args.keys()


def test_a_plan_survives_json(bare: Mimic, tmp_path: Path) -> None:
    plan = told(bare, make_plan(bare.path), tmp_path)
    validate(plan.to_json(), "probes")
    assert ProbePlan.from_json(plan.to_json()) == plan
    assert plan.notes


KALLSYMS = b"""\
0000000000000000 t unmap_page_range
0000000000000000 T page_remove_rmap
0000000000000000 t folio_remove_rmap_ptes\t[some_module]
0000000000000000 t bad_page.isra.0
0000000000000000 t bad_page.cold
0000000000000000 t free_unref_page.part.0
0000000000000000 t print_bad_pte
0000000000000000 t print_bad_pte
0000000000000000 d free_unref_page
0000000000000000 T trace_boot_init
0000000000000000 T not_bad_page
"""


def test_names_that_can_be_probed() -> None:
    names = names_in(KALLSYMS)
    assert names.plain.keys() == {"unmap_page_range", "page_remove_rmap", "trace_boot_init"}
    assert set(names.plain.values()) == {None}
    assert names.clones == ("bad_page.isra.0", "free_unref_page.part.0")


def test_what_cannot_be_had_is_said() -> None:
    plan = plan_without_debug_info(names_in(KALLSYMS), None, ARCHES["x86_64"], "7.0", None)
    why = {gap.event: gap.why for gap in plan.missing}
    assert "print_bad_page_map" in why["bad_pte"]
    events = {site.event: (site.symbol, site.function) for site in plan.sites}
    assert events == {
        "zap": ("unmap_page_range", "unmap_page_range"),
        "rmap_remove": ("page_remove_rmap", "page_remove_rmap"),
        "bad_page": ("bad_page.isra.0", "bad_page"),
    }
    assert all(site.args.keys() == {"caller"} for site in plan.sites)
    assert plan.notes[0] == NO_BTF
    assert "unmap_page_range()" in plan.notes[1]
    assert plan.boot_tracing


def test_zap_pte_range_itself_is_taken_where_it_is_out_of_line() -> None:
    names = Names({"unmap_page_range": 16, "zap_pte_range": 32})
    plan = plan_without_debug_info(names, None, ARCHES["x86_64"], None, None)
    assert [(one.symbol, one.address) for one in plan.sites] == [("zap_pte_range", 32)]
    assert len(plan.notes) == 1


def header(body: bytes, texts: bytes, **wrong: int) -> bytes:
    values = {"magic": 0xEB9F, "version": 1, "types": len(body), "names": len(texts)} | wrong
    front = struct.pack("<HBBI", values["magic"], values["version"], 0, 24)
    front += struct.pack("<IIII", 0, values["types"], len(body), values["names"])
    return front + body + texts


INT = struct.pack("<IIII", 1, 1 << 24, 4, 32)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x9f\xeb\x01",
        header(INT, b"\0int\0", magic=0x9FEB),
        header(INT, b"\0int\0", version=2),
        header(INT, b"\0int\0", types=1 << 31),
        header(INT, b"\0int\0", names=1 << 31),
        header(INT[:-4], b"\0int\0"),
        header(struct.pack("<III", 1, 31 << 24, 4), b"\0int\0"),
        header(struct.pack("<III", 1, 4 << 24 | 0xFFFF, 4), b"\0int\0"),
    ],
)
def test_damaged_btf_is_refused(raw: bytes) -> None:
    with pytest.raises(BadInput, match="BTF"):
        Btf(raw, "<")


def test_types_that_refer_to_each_other_end() -> None:
    # typedef 1 -> typedef 2 -> typedef 1; func 3 -> proto 4 with a parameter of type 1;
    # struct 5 with an anonymous member of its own kind.
    types = struct.pack("<III", 0, 8 << 24, 2) + struct.pack("<III", 0, 8 << 24, 1)
    types += struct.pack("<III", 1, 12 << 24, 4) + struct.pack("<IIIII", 0, 13 << 24 | 1, 0, 5, 1)
    types += struct.pack("<IIIIII", 7, 4 << 24 | 1, 8, 0, 5, 0)
    btf = Btf(header(types, b"\0fun\0x\0page\0"), "<")
    (parameter,) = btf.parameters("fun") or ()
    assert parameter.size == 0
    assert btf.offset("page", "flags") is None
    assert btf.parameters("nothing") is None
