"""The page tables of one kernel: its architecture's, with what only the running kernel decides."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import drgn
from drgn.helpers.linux.mm import virt_to_phys

from zaptrace.arch import ARCHES, arch_named
from zaptrace.arch.page_tables import ALL_BITS
from zaptrace.audit.pagetables.table_format import Root, TableFormat
from zaptrace.memory.open import vmcoreinfo_of
from zaptrace.model.errors import BadInput

_ASCE_ORIGIN = ALL_BITS & ~0xFFF
_ASCE_TYPE = 0x0C
_ASCE_LENGTH = 0x03
_ASCE_UNIT = 512  # entries
_X86_USER_ENTRIES = 256
"""Of a topmost table: the rest of it is the kernel's."""


def format_of(prog: drgn.Program) -> TableFormat:
    """Return the page tables of a program.

    Raises:
        BadInput: zaptrace does not know its architecture, or it does not say how they are.
    """
    arch = prog.platform.arch.name.lower() if prog.platform else "unknown"
    fmt, settle = FORMATS[arch_named(arch).name], _SETTLE.get(arch)
    return fmt if settle is None else settle(fmt, prog, vmcoreinfo_of(prog))


def s390x_root(asce: int) -> Root | None:
    """Return where an address-space-control element begins; None when it holds no origin."""
    origin = asce & _ASCE_ORIGIN
    if not origin:
        return None
    level = 3 - ((asce & _ASCE_TYPE) >> 2)
    return Root(origin, level, 0, ((asce & _ASCE_LENGTH) + 1) * _ASCE_UNIT)


def _s390x(mm: drgn.Object) -> Root | None:
    asce: int = mm.context.asce.value_()
    pgd = mm.pgd.read_()
    # Between mm_alloc_pgd() and init_new_context() the ASCE is another mm's (dup_mm() copies it).
    if not pgd or virt_to_phys(pgd).value_() != asce & _ASCE_ORIGIN:
        return None
    return s390x_root(asce)


def _x86_64(mm: drgn.Object, *, top: int = 1) -> Root | None:
    """Return where an mm begins: the p4d folded into the pgd (`top` 1) or five levels (0)."""
    pgd = mm.pgd.read_()
    if not pgd:
        return None
    return Root(virt_to_phys(pgd).value_(), top, 0, _X86_USER_ENTRIES)


def _settle_x86_64(
    fmt: TableFormat, prog: drgn.Program, vmcoreinfo: Mapping[str, str]
) -> TableFormat:
    top = 0 if _has_five_levels(prog, vmcoreinfo) else 1
    encrypted = _number(vmcoreinfo, "sme_mask") or 0
    return dataclasses.replace(without_bits(fmt, encrypted), root=lambda mm: _x86_64(mm, top=top))


def without_bits(fmt: TableFormat, bits: int) -> TableFormat:
    """Return the format with some bits taken out of an entry's address.

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
    return dataclasses.replace(fmt, tables=dataclasses.replace(fmt.tables, levels=levels))


def _has_five_levels(prog: drgn.Program, vmcoreinfo: Mapping[str, str]) -> bool:
    # arch_crash_save_vmcoreinfo() says it whatever the configuration (since 4.18).
    enabled = _number(vmcoreinfo, "pgtable_l5_enabled")
    if enabled is not None:
        return enabled != 0
    try:
        return bool(prog["__pgtable_l5_enabled"].value_())
    except LookupError:
        raise BadInput("no symbol says whether page tables have four levels or five") from None


def _number(vmcoreinfo: Mapping[str, str], name: str) -> int | None:
    text = vmcoreinfo.get(f"NUMBER({name})")
    try:
        return None if text is None else int(text)
    except ValueError:
        raise BadInput(f"VMCOREINFO has no number for {name}: {text!r}") from None


_ROOTS: dict[str, Callable[[drgn.Object], Root | None]] = {"s390x": _s390x, "x86_64": _x86_64}
"""mm_struct -> where its page tables begin."""
_SETTLE: dict[str, Callable[[TableFormat, drgn.Program, Mapping[str, str]], TableFormat]] = {
    "x86_64": _settle_x86_64,
}
"""What only the running kernel decides, where there is such a thing."""
FORMATS = {
    name: TableFormat(name, f"{arch.order}u8", arch.page_tables, _ROOTS[name])
    for name, arch in ARCHES.items()
}
"""Each architecture's, before a kernel has decided anything."""
