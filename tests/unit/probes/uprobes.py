"""Uprobes on the C library, which stand in for kprobes of the kernel."""

from __future__ import annotations

import functools
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from zaptrace.model.plan import ProbeArg, ProbePlan, ProbeSite

CONTROL = "uprobe_events"


PAGE = {
    "page": ProbeArg("%di", "x64"),
    "raw_mapcount": ProbeArg("%si", "s32"),
    "caller": ProbeArg("+0(%sp)", "x64"),
}


FUNCTIONS = {
    # Event -> a function of the C library that is never called, and what is fetched there.
    "rmap_remove": ("labs", PAGE),
    "page_free": ("llabs", PAGE),
    "bad_page": ("gnu_dev_major", {**PAGE, "reason": ProbeArg("+0(%dx)", "string")}),
    "zap_enter": ("gnu_dev_minor", {"vma": ProbeArg("%di", "x64")}),
}


@functools.cache
def place_of(function: str) -> str:
    """PATH:OFFSET of a function of the C library, as uprobe_events wants it."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    path = next(line.split()[-1] for line in lines if "libc.so" in line or "libc-" in line)
    with Path(path).open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".dynsym")
        assert isinstance(table, SymbolTableSection)
        symbols = table.get_symbol_by_name(function)
        assert symbols
        value = symbols[0]["st_value"]
        (offset,) = elf.address_offsets(value)
    return f"{path}:{offset:#x}"


def plan(*extra: ProbeSite) -> ProbePlan:
    sites = [
        ProbeSite(event, place_of(function), 0, None, False, None, args)
        for event, (function, args) in FUNCTIONS.items()
    ]
    return ProbePlan("00", "x86_64", None, (*sites, *extra))
