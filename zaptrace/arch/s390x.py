"""s390x (z/Architecture, 64-bit): IBM Z and LinuxONE."""

from __future__ import annotations

from zaptrace.arch.arch import Arch, GdbCall, VectorTable
from zaptrace.arch.page_tables import (
    ALL_BITS,
    EntryFlags,
    FlagNames,
    Level,
    Match,
    PageTables,
    Span,
    SwapEncoding,
)

_GPRS = tuple(f"r{number}" for number in range(16))

# Page tables: arch/s390/include/asm/pgtable.h ("Bits in the segment/region table
# address-space-control-element" and the tables of bit patterns below it) and the z/Architecture
# Principles of Operation, chapter 3, "Translation Tables".
#
# The address-space-control element (mm->context.asce) holds the origin of the
# topmost table and its type; Linux begins at region-third tables (4 TB) and
# grows upwards (crst_table_upgrade(), arch/s390/mm/pgalloc.c).
# Region and segment tables: invalid bit 0x20; the type must be the level's own
# ("TT", 0x0c), else the hardware takes a translation-specification exception.
# A segment or region-third leaf may be invalid and still present (young
# tracking), so the large bit alone decides.
# A PTE is present by the software bit 0x001 alone, for the same reason.
# A swap entry of these levels has COMM and not PRESENT (0x001); its type covers the large bit
# ("s390/mm: Introduce region-third and segment table swap entries", 6.14).  Nothing that is in
# user space has COMM otherwise.

_TABLE_TYPE = 0x0C
_INVALID = 0x20
_LARGE = 0x400
_COMM = 0x10
_ORIGIN = ALL_BITS & ~0xFFF
_CRST_ENTRIES = 2048
_SPAN = Span(first_mask=0xC0, first_shift=6, last_mask=0x03, unit=512)


def _swap(kind: int) -> Match:
    known = _INVALID | _COMM
    return Match(known | _TABLE_TYPE | 0x001, known | kind)


def _region(name: str, shift: int, kind: int, large: int = 0) -> Level:
    return Level(
        name,
        shift,
        _CRST_ENTRIES,
        leaf=(Match(large | _COMM | _TABLE_TYPE, large | kind),) if large else (),
        leaf_origin=ALL_BITS & ~0x7FFFFFFF,
        table=(Match(large | _INVALID | _TABLE_TYPE, kind),),
        table_origin=_ORIGIN,
        empty=(Match(large | _COMM | _INVALID, _INVALID),),
        swap=(_swap(kind),) if large else (),
        span=_SPAN,
    )


_LEVELS = (
    _region("region first", 53, 0x0C),
    _region("region second", 42, 0x08),
    _region("region third", 31, 0x04, _LARGE),
    Level(
        "segment",
        20,
        _CRST_ENTRIES,
        leaf=(Match(_LARGE | _COMM | _TABLE_TYPE, _LARGE),),
        leaf_origin=ALL_BITS & ~0xFFFFF,
        table=(Match(_LARGE | _INVALID | _TABLE_TYPE, 0),),
        table_origin=ALL_BITS & ~0x7FF,
        empty=(Match(_LARGE | _COMM | _INVALID, _INVALID),),
        swap=(_swap(0),),
    ),
    Level(
        "page",
        12,
        256,
        leaf=(Match(0x001, 0x001),),
        leaf_origin=_ORIGIN,
        empty=(Match(ALL_BITS, 0x400),),
        swap=(Match(0x201, 0x200),),
    ),
)

_CRST_FLAGS: FlagNames = ((0x200, "PROTECT"), (0x100, "NOEXEC"), (0x020, "INVALID"))

S390X = Arch(
    name="s390x",
    debian="s390x",
    stock_flavour="s390x",
    kernel_arch="s390",
    kernel_folder="arch/s390",
    cross="s390x-linux-gnu-",
    packages=(
        ("gcc-s390x-linux-gnu",),
        ("libc6-dev-s390x-cross",),
        ("qemu-system-s390x", "qemu-system-misc"),
    ),
    make_target="bzImage",
    image="arch/s390/boot/bzImage",
    build_steps={"repro": 1010, "live": 1276, "zoo": 1000},
    qemu="qemu-system-s390x",
    machine=("-M", "s390-ccw-virtio"),
    virtio="ccw",
    console=("-device", "sclpconsole,chardev=console"),
    # The console has 6 pages of buffers and drops the oldest of them when an emulator that is
    # short of CPU lets them fill: whole reports of bugs were missing.  Let it wait.
    append="console=ttyS0 sclp_con_drop=0",
    lab_append="",
    gdb_instruction=2,
    # PSW address; r2, r3; r14; r15; j .
    gdb_call=GdbCall(pc=1, arguments=(4, 5), link=16, stack=17, loop=b"\xa7\xf4\0\0"),
    patches_running_code=False,
    elf_machine=22,  # EM_S390
    byteorder="big",
    # ELF Application Binary Interface s390x Supplement: r2-r6 carry arguments, r14 the return
    # address; DWARF numbers 0-15 are r0-r15, then come the floating-point registers, which
    # kernel code does not use.
    dwarf_registers=_GPRS,
    argument_registers=("r2", "r3", "r4", "r5", "r6"),
    return_address="%r14",
    # struct pt_regs: one word for the syscall's argument and two for the PSW come first.
    pt_regs_words={name: 3 + number for number, name in enumerate(_GPRS)},
    pt_regs_members={
        "pswmask": "psw.mask",
        "pswaddr": "psw.addr",
        **{name: f"gprs[{number}]" for number, name in enumerate(_GPRS)},
    },
    # s390_regs (arch/s390/include/uapi/asm/ptrace.h): PSW, then the GPRs.
    prstatus=("pswmask", "pswaddr", *_GPRS),
    program_counter="pswaddr",
    stack_pointer="r15",
    # PSW_MASK_PSTATE (arch/s390/include/uapi/asm/ptrace.h)
    user_mode=("pswmask", 1 << 48, 1 << 48),
    # arch/s390/kernel/syscalls/syscall.tbl
    bpf_syscall=351,
    perf_event_open_syscall=331,
    command_line_size=4096,  # CONFIG_COMMAND_LINE_SIZE's default
    # struct lowcore (arch/s390/include/asm/lowcore.h): program_new_psw.  Of its PSWs
    # setup_lowcore() (arch/s390/kernel/setup.c) stores this one at absolute 0 too, with a virtual
    # address; before that, startup_init() (arch/s390/kernel/early.c) the early one.
    vector_table=VectorTable(lowcore=0x1D0, gate=0, early="early_pgm_check_handler"),
    vector_handlers=("pgm_check_handler",),
    pmd_size=1 << 20,
    # arch/s390/kernel/setup.c.  struct vm_layout since "s390: Unify vmlinux and kaslr variables"
    # (6.10): kaslr_offset, kaslr_offset_phys, identity_base.  Before that, the direct map is at 0.
    vmemmap=(("vmemmap", 0),),
    vmemmap_size=(("vmemmap_size", 0),),
    direct_map=(("vm_layout", 16), 0),
    kernel_code=None,
    # lowcore.vmcore_info (arch/s390/include/asm/lowcore.h) points to the note; IDENTITYBASE since
    # "s390/vmcoreinfo: Store virtual memory layout" (6.10).
    vmcoreinfo_pointer=0xE0C,
    identity_base=b"IDENTITYBASE",
    lock_holder_mask=0xFFFF,  # arch_spin_lockval(), arch/s390/include/asm/spinlock.h
    page_tables=PageTables(
        levels=_LEVELS,
        special=0x040,
        readable=0x010,  # _PAGE_READ, software
        writable=0x020,  # _PAGE_WRITE, software
        noexec=0x100,
        large_rights=False,  # _SEGMENT_ENTRY_READ and _WRITE have moved (6.14)
        large_special=0,
        large_devmaps=(),
        user_end=2**64,
        # The READ and WRITE bits of large leaves have moved (6.14) and are left out.
        flags=EntryFlags(
            pte=(
                (0x001, "PRESENT"),
                (0x002, "SOFT_DIRTY"),
                (0x004, "YOUNG"),
                (0x008, "DIRTY"),
                (0x010, "READ"),
                (0x020, "WRITE"),
                (0x040, "SPECIAL"),
                (0x080, "UNUSED"),
                (0x100, "NOEXEC"),
                (0x200, "PROTECT"),
                (0x400, "INVALID"),
            ),
            large=(*_CRST_FLAGS, (0x400, "LARGE"), (0x1000, "YOUNG"), (0x2000, "DIRTY")),
            table=_CRST_FLAGS,
        ),
        # Large ones since "s390/mm: Introduce region-third and segment table swap entries" (6.14).
        swap=SwapEncoding(pte_type=(2, 31), large_type=(6, 31), inverted=False, left=0, right=12),
    ),
)
