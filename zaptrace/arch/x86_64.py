"""x86_64 (AMD64, Intel 64)."""

from __future__ import annotations

from zaptrace.arch.arch import Arch, GdbCall, VectorTable
from zaptrace.arch.page_tables import (
    ALL_BITS,
    EntryFlags,
    FlagNames,
    Level,
    Match,
    PageTables,
    SwapEncoding,
)

_PT_REGS = (
    *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx"),
    *("si", "di", "orig_ax", "ip", "cs", "flags", "sp", "ss"),
)
"""Names as in regoffset_table (arch/x86/kernel/ptrace.c), in the order of struct pt_regs."""

# Page tables: arch/x86/include/asm/pgtable_types.h, pgtable_64.h and pgtable-invert.h.
#
# Present is PRESENT (0x001) or PROT_NONE (0x100, the GLOBAL bit of an entry that
# is not PRESENT); a huge page is PSE (0x080), also while PRESENT is taken back for
# an invalidation (pmd_present()).  A leaf without PRESENT holds its address
# complemented (L1TF: __pte_needs_invert()).  Bit 12 of a huge leaf is PAT.
# "Empty" ignores ACCESSED and DIRTY, which an erratum may set (pte_none()).
# The bits of an address in an entry may include encryption's: `pagetables.arches` takes it out.
# PTI keeps a second topmost table for user space, with the same tables below.

_ORIGIN = 0x000FFFFFFFFFF000
_ENTRIES = 512
_NOT_PRESENT = (Match(0x001, 0),)
_PTE_EMPTY = (Match(ALL_BITS & ~0x060, 0),)


def _directory(name: str, shift: int, *, huge: bool) -> Level:
    return Level(
        name,
        shift,
        _ENTRIES,
        leaf=(Match(0x080, 0x080),) if huge else (),
        leaf_origin=_ORIGIN & ~((1 << shift) - 1),
        inverted=_NOT_PRESENT,
        table=(Match(0x081 if huge else 0x001, 0x001),),
        table_origin=_ORIGIN,
        empty=_PTE_EMPTY,
        swap=(Match(0x181, 0),) if huge else (),
    )


_LEVELS = (
    _directory("pgd", 48, huge=False),
    _directory("p4d", 39, huge=False),
    _directory("pud", 30, huge=True),
    _directory("pmd", 21, huge=True),
    Level(
        "pte",
        12,
        _ENTRIES,
        leaf=(Match(0x001, 0x001), Match(0x101, 0x100)),
        leaf_origin=_ORIGIN,
        inverted=_NOT_PRESENT,
        empty=_PTE_EMPTY,
        swap=(Match(0x101, 0),),
    ),
)

_TABLE_FLAGS: FlagNames = (
    (1 << 0, "PRESENT"),
    (1 << 1, "RW"),
    (1 << 2, "USER"),
    (1 << 3, "PWT"),
    (1 << 4, "PCD"),
    (1 << 5, "ACCESSED"),
    (1 << 63, "NX"),
)
_LEAF_FLAGS: FlagNames = (
    *_TABLE_FLAGS[:-1],
    (1 << 6, "DIRTY"),
    (1 << 8, "GLOBAL"),  # PROTNONE without PRESENT
    (1 << 9, "SPECIAL"),
    (1 << 10, "UFFD_WP"),
    (1 << 11, "SOFT_DIRTY"),
    (1 << 63, "NX"),
)

X86_64 = Arch(
    name="x86_64",
    debian="amd64",
    stock_flavour="cloud-amd64",
    kernel_arch="x86_64",
    kernel_folder="arch/x86",
    cross="x86_64-linux-gnu-",
    packages=(
        ("gcc-x86-64-linux-gnu", "gcc"),
        ("libc6-dev-amd64-cross", "libc6-dev"),
        ("qemu-system-x86",),
        ("libelf-dev",),  # objtool
        ("lz4",),  # the lab kernels' compression
    ),
    make_target="bzImage",
    image="arch/x86/boot/bzImage",
    build_steps={"repro": 1478, "live": 1736, "zoo": 1450},
    qemu="qemu-system-x86_64",
    machine=("-M", "q35", "-device", "vmcoreinfo", "-device", "pvpanic"),
    virtio="pci",
    console=("-device", "isa-serial,chardev=console"),
    # Optimised kprobes run with interrupts on, and miss what interrupts hit.  The timer's check
    # gives a starved emulator up: "IO-APIC + timer does not work!"
    append="console=ttyS0 no_timer_check sysctl.debug.kprobes-optimization=0",
    # The kernel's test of pages in a device's memory makes 131,072 struct pages by itself.  An
    # emulated second CPU takes a third of a second to calibrate its delay loop: with 250 ticks a
    # second these loops are enough for a TSC of 5 GHz.
    lab_append="initcall_blacklist=hmm_dmirror_init lpj=20000000",
    gdb_instruction=1,
    # rip; rdi, rsi; rsp; jmp .
    gdb_call=GdbCall(pc=16, arguments=(5, 4), link=None, stack=7, loop=b"\xeb\xfe"),
    patches_running_code=True,
    elf_machine=62,  # EM_X86_64
    byteorder="little",
    # System V ABI, AMD64 supplement, figures 3.4 (arguments) and 3.36 (DWARF numbers).
    dwarf_registers=(
        *("ax", "dx", "cx", "bx", "si", "di", "bp", "sp"),
        *(f"r{number}" for number in range(8, 16)),
    ),
    argument_registers=("di", "si", "dx", "cx", "r8", "r9"),
    return_address="+0(%sp)",
    pt_regs_words={name: word for word, name in enumerate(_PT_REGS)},
    pt_regs_members={name: name for name in _PT_REGS},
    # user_regs_struct (arch/x86/include/asm/user_64.h): struct pt_regs, then the bases and data
    # segments.
    prstatus=(*_PT_REGS, "fs_base", "gs_base", "ds", "es", "fs", "gs"),
    program_counter="ip",
    stack_pointer="sp",
    user_mode=("cs", 3, 3),  # user_mode() of arch/x86/include/asm/ptrace.h
    # arch/x86/entry/syscalls/syscall_64.tbl
    bpf_syscall=321,
    perf_event_open_syscall=298,
    command_line_size=2048,
    vector_table=VectorTable(lowcore=None, gate=14),  # the page fault
    # "x86/entry: Convert page fault exception to IDTENTRY_RAW" (5.8) renamed it.
    vector_handlers=("asm_exc_page_fault", "page_fault"),
    pmd_size=1 << 21,
    # Without CONFIG_DYNAMIC_MEMORY_LAYOUT they are constants
    # (arch/x86/include/asm/pgtable_64_types.h, page_64_types.h, and
    # Documentation/arch/x86/x86_64/mm.rst).
    vmemmap=(("vmemmap_base", 0), 0xFFFFEA0000000000),
    vmemmap_size=(1 << 40,),
    direct_map=(("page_offset_base", 0), 0xFFFF888000000000),
    kernel_code=(0xFFFFFFFF80000000, 0xFFFFFFFFFF000000),
    # QEMU's `-device vmcoreinfo` puts the guest's note among its own, once the guest has loaded
    # qemu_fw_cfg (a module in Debian's kernels).
    vmcoreinfo_pointer=None,
    identity_base=None,
    lock_holder_mask=0,  # queued spinlocks do not say (kernel/locking/qspinlock.c)
    page_tables=PageTables(
        levels=_LEVELS,
        special=0x200,  # _PAGE_SOFTW1
        readable=0x001,  # _PAGE_PRESENT
        writable=0x002,  # _PAGE_RW
        noexec=1 << 63,
        large_rights=True,
        large_special=0x200,
        # _PAGE_SOFTW4, which "x86/mm: Introduce _PAGE_SAVED_DIRTY" (6.6) moved, to have its bit
        # for a write-protected page that is dirty; that series made pte_mkwrite() a function.
        large_devmaps=(("pte_mkwrite", 1 << 57), ("", 1 << 58)),
        user_end=2**56,
        flags=EntryFlags(
            pte=(*_LEAF_FLAGS, (1 << 7, "PAT")),
            large=(*_LEAF_FLAGS, (1 << 7, "PSE"), (1 << 12, "PAT"), (1 << 58, "DEVMAP")),
            table=_TABLE_FLAGS,
        ),
        # The offset is complemented (L1TF).
        swap=SwapEncoding(pte_type=(59, 31), large_type=(59, 31), inverted=True, left=5, right=14),
    ),
)
