"""The page tables of one kernel: its architecture's, with what only the running kernel decides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import drgn

from zaptrace.audit.pagetables.format import FORMATS, TableFormat, x86_64_root
from zaptrace.memory.open import vmcoreinfo_of
from zaptrace.model.errors import BadInput


def format_of(prog: drgn.Program) -> TableFormat:
    """The page tables of a program.

    Raises:
        BadInput: those of its architecture are not known, or it does not tell how they are.
    """
    arch = prog.platform.arch.name.lower() if prog.platform else "unknown"
    fmt = FORMATS.get(arch)
    if fmt is None:
        known = ", ".join(sorted(FORMATS))
        raise BadInput(f"the page tables of {arch} are not known to the audit (known: {known})")
    settled = _SETTLED.get(arch)
    return fmt if settled is None else settled(fmt, prog, vmcoreinfo_of(prog))


def _x86_64(fmt: TableFormat, prog: drgn.Program, vmcoreinfo: Mapping[str, str]) -> TableFormat:
    top = 0 if _has_five_levels(prog, vmcoreinfo) else 1
    encrypted = _number(vmcoreinfo, "sme_mask") or 0
    return dataclasses.replace(
        without_bits(fmt, encrypted), root=lambda mm: x86_64_root(mm, top=top)
    )


def without_bits(fmt: TableFormat, bits: int) -> TableFormat:
    """The same, where some bits of an entry's address are none.

    AMD's memory encryption puts its C bit there (sme_me_mask, PTE_PFN_MASK: arch/x86/mm/
    mem_encrypt_identity.c takes it out of physical_mask); SME's host and SEV's guests have it in
    nearly every entry.
    """
    levels = tuple(
        dataclasses.replace(
            level,
            leaf_origin=level.leaf_origin & ~bits,
            table_origin=level.table_origin & ~bits,
        )
        for level in fmt.levels
    )
    return dataclasses.replace(fmt, levels=levels)


def _has_five_levels(prog: drgn.Program, vmcoreinfo: Mapping[str, str]) -> bool:
    # arch_crash_save_vmcoreinfo() says it whatever the configuration (since 4.18).
    told = _number(vmcoreinfo, "pgtable_l5_enabled")
    if told is not None:
        return told != 0
    try:
        return bool(prog["__pgtable_l5_enabled"].value_())
    except LookupError:
        raise BadInput("nothing tells whether page tables have four levels or five") from None


def _number(vmcoreinfo: Mapping[str, str], name: str) -> int | None:
    text = vmcoreinfo.get(f"NUMBER({name})")
    try:
        return None if text is None else int(text)
    except ValueError:
        raise BadInput(f"VMCOREINFO has no number for {name}: {text!r}") from None


_SETTLED: dict[str, Callable[[TableFormat, drgn.Program, Mapping[str, str]], TableFormat]] = {
    "x86_64": _x86_64,
}
