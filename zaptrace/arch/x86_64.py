"""x86_64 (AMD64, Intel 64)."""

from __future__ import annotations

from zaptrace.arch.row import Arch, VectorTable

_PT_REGS = (
    *("r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx"),
    *("si", "di", "orig_ax", "ip", "cs", "flags", "sp", "ss"),
)
"""Names as in regoffset_table (arch/x86/kernel/ptrace.c), in the order of struct pt_regs."""

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
    ),
    make_target="bzImage",
    image="arch/x86/boot/bzImage",
    build_steps={"repro": 1407, "live": 1880},
    qemu="qemu-system-x86_64",
    machine=("-M", "q35", "-device", "vmcoreinfo", "-device", "pvpanic"),
    virtio="pci",
    console=("-device", "isa-serial,chardev=console"),
    # Optimised kprobes run with interrupts on, and miss what interrupts hit.  The timer's check
    # gives a starved emulator up: "IO-APIC + timer does not work!"
    append="console=ttyS0 no_timer_check sysctl.debug.kprobes-optimization=0",
    gdb_instruction=1,
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
)
