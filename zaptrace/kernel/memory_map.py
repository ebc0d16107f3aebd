"""Where a kernel keeps its struct pages and its code, before it has booted.

Addresses that only a booting kernel knows are named by the variable that will hold them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zaptrace.arch import Variable as Choice
from zaptrace.arch import arch_named
from zaptrace.elf.image import Image
from zaptrace.elf.symtab import Symbols
from zaptrace.kernel.plan_cache import plan_for
from zaptrace.model.errors import BadInput

_STACK_SHIFT = 14
"""log2 of THREAD_SIZE where the linker's script does not say: 16 KiB on both architectures."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A number of 8 bytes that the kernel holds, or a constant.

    Attributes:
        address: where the variable is; None for a constant.
        value: the constant, also what the variable's absence means.
    """

    address: int | None
    value: int | None


@dataclass(frozen=True, slots=True)
class TableType:
    """A page is a page table when `page_type & mask == value` in its struct page.

    Attributes:
        page_size: bytes of a struct page.
        offset: of page_type in it.
    """

    page_size: int
    offset: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class MemoryMap:
    """Addresses of one kernel.

    Attributes:
        start: start_kernel(): by then the variables are set, and no struct page is written yet.
        text: its code, start and end.
        stack_shift: log2 of a kernel stack's bytes.
        base: the struct page of PFN 0.
        size: bytes of the range that only struct pages lie in.
        direct: where physical 0 is in the direct map.
        order: its byte order, as numpy spells it.
        tables: how a struct page says that its page is a page table; None when that is not known.
        anywhere: `texts` hold also where the kernel runs elsewhere than it was linked.
        early_vector: the handler that the CPUs' own table names first, before `start` is reached;
            None where nothing of the kind can be watched.
    """

    start: int
    texts: tuple[tuple[int, int], ...]
    stack_shift: int
    base: Variable
    size: Variable
    direct: Variable
    order: str
    anywhere: bool = False
    tables: TableType | None = None
    early_vector: int | None = None


def memory_map(vmlinux: Path, arch: str) -> MemoryMap:
    """Read a kernel's.

    Raises:
        BadInput: it has no start_kernel(), or no vmemmap that we know.
    """
    row = arch_named(arch)
    with Image(vmlinux) as image:
        symbols = Symbols(image)
        order = image.order
    start, texts = (
        symbols.functions("start_kernel"),
        (row.kernel_code,) if row.kernel_code else _texts(symbols),
    )
    base, size = _variable(symbols, row.vmemmap), _variable(symbols, row.vmemmap_size)
    if not start or not texts or base is None or size is None:
        raise BadInput(f"{vmlinux}: no start_kernel(), no _stext or no vmemmap in it")
    direct = _variable(symbols, row.direct_map) or Variable(None, 0)
    shift, anywhere = _stack_shift(symbols), row.kernel_code is not None
    early = row.vector_table.early
    return MemoryMap(
        start[0].address,
        texts,
        shift,
        base,
        size,
        direct,
        order,
        anywhere,
        tables=_table_type(vmlinux, symbols),
        early_vector=symbols.code(early) if early else None,
    )


_PGTY_TABLE = (0xFF000000, 0xF2000000)
"""Since "mm: support only one page_type per page" (6.12): PGTY_table in the top byte."""
_PG_TABLE = (0xF0000200, 0xF0000000)
"""Before that (5.11 to 6.10) PG_table is a bit of page_type that is 0 in page tables, as all of
PAGE_TYPE_BASE is set.  6.11 has other bits, which no page fits that is no page table."""


def _table_type(vmlinux: Path, symbols: Symbols) -> TableType | None:
    """page_type lies where _mapcount does; mm/debug.c's `page_type_names` came with PGTY_table."""
    try:
        offsets = plan_for(vmlinux).offsets
    except BadInput:  # no debug info
        return None
    size, offset = offsets.get("sizeof page"), offsets.get("page._mapcount")
    if size is None or offset is None:
        return None
    named = symbols.object("page_type_names")
    return TableType(size, offset, *(_PGTY_TABLE if named else _PG_TABLE))


def _texts(symbols: Symbols) -> tuple[tuple[int, int], ...]:
    """Return the image's code; what runs once is in a section of its own."""
    labels = [("_stext", "_etext"), ("_sinittext", "_einittext")]
    spans = [(symbols.label(start), symbols.label(end)) for start, end in labels]
    return tuple((start, end) for start, end in spans if start and end and start < end)


def _variable(symbols: Symbols, choices: tuple[Choice, ...]) -> Variable | None:
    for choice in choices:
        if isinstance(choice, int):
            return Variable(None, choice)
        name, offset = choice
        found = symbols.object(name)
        if found is not None:
            return Variable(found.address + offset, None)
    return None


def _stack_shift(symbols: Symbols) -> int:
    """Return log2 of THREAD_SIZE, by init's stack (INIT_TASK_DATA of vmlinux.lds.h)."""
    start, end = symbols.label("__start_init_stack"), symbols.label("__end_init_stack")
    if start is None or end is None:  # before 6.10: the task_struct was in front
        start, end = symbols.label("__start_init_task"), symbols.label("__end_init_task")
    size = (end or 0) - (start or 0)
    return size.bit_length() - 1 if size in (1 << n for n in range(12, 21)) else _STACK_SHIFT
