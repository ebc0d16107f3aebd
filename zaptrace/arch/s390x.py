"""s390x (z/Architecture, 64-bit): IBM Z and LinuxONE."""

from __future__ import annotations

from zaptrace.arch.row import Arch, VectorTable

_GPRS = tuple(f"r{number}" for number in range(16))

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
    build_steps={"repro": 985, "live": 1321},
    qemu="qemu-system-s390x",
    machine=("-M", "s390-ccw-virtio"),
    virtio="ccw",
    console=("-device", "sclpconsole,chardev=console"),
    # The console has 6 pages of buffers and drops the oldest of them when an emulator that is
    # short of CPU lets them fill: whole reports of bugs were missing.  Let it wait.
    append="console=ttyS0 sclp_con_drop=0",
    gdb_instruction=2,
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
    # arch/s390/kernel/syscalls/syscall.tbl
    bpf_syscall=351,
    perf_event_open_syscall=331,
    command_line_size=4096,  # CONFIG_COMMAND_LINE_SIZE's default
    # struct lowcore (arch/s390/include/asm/lowcore.h): program_new_psw.  Of its PSWs
    # setup_lowcore() (arch/s390/kernel/setup.c) stores this one at absolute 0 too, with a virtual
    # address.
    vector_table=VectorTable(lowcore=0x1D0, gate=0),
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
)
