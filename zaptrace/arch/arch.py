"""The type of an architecture's row: a comment on every field, and no defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from zaptrace.arch.page_tables import PageTables

Byteorder = Literal["big", "little"]

Variable = tuple[str, int] | int
"""A number that a kernel holds: the name of a variable and an offset in it, or a constant."""


@dataclass(frozen=True, slots=True)
class VectorTable:
    """Where the CPUs' own table names the exception handler of `Arch.vector_handlers`.

    Attributes:
        lowcore: absolute address of a new PSW, where the table is one of these.
        gate: number of a gate of the interrupt descriptor table otherwise.
        early: the handler that the kernel puts there before start_kernel(); None when there is
            no place that can be watched for it.
    """

    lowcore: int | None
    gate: int
    early: str | None = None


@dataclass(frozen=True, slots=True)
class GdbCall:
    """How a stopped CPU is made to call a function: numbers of registers in gdb's protocol.

    Attributes:
        pc: the next instruction's address.
        arguments: the first two arguments.
        link: where the return address goes, None when that is on the stack.
        stack: the stack pointer.
        loop: the instruction that branches to itself.
    """

    pc: int
    arguments: tuple[int, int]
    link: int | None
    stack: int
    loop: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """One architecture: all that differs between architectures and is plain data.

    A row that lacks a field cannot be imported.  What is not plain data is in two
    more places: the instruction decoder (`zaptrace.kernel.machinecode`) and what the
    audit reads through drgn (where an mm's page tables begin).

    The name and the toolchain:
        name: `uname -m`, what users type, and the kconfig fragment's name.
        debian: Debian's name of it.
        stock_flavour: the flavour in the names of Debian's kernel packages.
        kernel_arch: the kernel's ARCH=.
        kernel_folder: its folder in a kernel tree.
        cross: prefix of the cross tools, also Debian's GNU triplet.
        packages: Debian packages that build for it and boot it; each a choice, the
            first one that the distribution has.
        make_target, image: what to make, and where the bootable image then is.
        build_steps: flavour -> lines that a build prints, for the progress bar (measured).

    The machine in QEMU:
        qemu: the emulator.
        machine: its arguments for the machine itself.
        virtio: how QEMU names its virtio devices here: virtio-blk-VIRTIO.
        console: arguments for a serial console on chardev "console".
        append: kernel arguments that the console and the probes need.
        lab_append: kernel arguments that spare a boot of a lab kernel what nobody waits for.
        gdb_instruction: bytes of a breakpoint's instruction, as the gdb protocol's `Z1`
            packet wants it.
        gdb_call: how the stopped guest is made to call a function of its kernel.
        patches_running_code: whether its kernel changes code (kprobes, static keys) that
            other CPUs may be running; else it stops them for that.

    The ELF file and the calling convention:
        elf_machine: e_machine of its ELF files.
        byteorder: of kernel and ELF file.
        dwarf_registers: DWARF register number -> name that ftrace knows
            (regs_query_register_offset() of arch/*/kernel/ptrace.c).
        argument_registers: ftrace names of the registers that carry integer arguments.
        return_address: fetch argument for it at a function's first instruction.

    struct pt_regs and the registers of a dump:
        pt_regs_words: register -> which 64-bit word of struct pt_regs
            (arch/*/include/asm/ptrace.h).
        pt_regs_members: register -> member of struct pt_regs.
        prstatus: registers in the order of elf_gregset_t, 8 bytes each.
        program_counter, stack_pointer: which of them are those.
        user_mode: one of them, some of its bits, and what these are while user space runs.

    System calls and limits:
        bpf_syscall, perf_event_open_syscall: numbers of the system calls.
        command_line_size: COMMAND_LINE_SIZE (arch/*/include/asm/setup.h), bytes.

    Where the kernel and its memory lie:
        vector_table: where the CPUs' own table names a handler of the kernel's.
        vector_handlers: names of that handler, newest first.
        pmd_size: bytes that one PMD entry maps (include/linux/pgtable.h).
        vmemmap: the struct page of PFN 0; each choice newest first, then the constant.
        vmemmap_size: bytes of the range that only struct pages lie in; likewise.
        direct_map: where physical 0 is in the direct map; likewise.
        kernel_code: where all code of the kernel is, modules too, and nothing of user
            space; None where user space has the same addresses, and only the image
            distinguishes them.
        vmcoreinfo_pointer: physical address of the kernel's pointer to its VMCOREINFO
            note; None where nothing in memory points to it: then it is searched for.
        identity_base: VMCOREINFO key whose hex value is the virtual address of physical
            0; None, or where the key is absent, virtual equals physical.
        lock_holder_mask: which bits of a held spinlock's word are the holder's CPU + 1;
            0 where the word does not say.
        page_tables: what its page tables look like.
    """

    name: str
    debian: str
    stock_flavour: str
    kernel_arch: str
    kernel_folder: str
    cross: str
    packages: tuple[tuple[str, ...], ...]
    make_target: str
    image: str
    build_steps: dict[str, int]

    qemu: str
    machine: tuple[str, ...]
    virtio: str
    console: tuple[str, ...]
    append: str
    lab_append: str
    gdb_instruction: int
    gdb_call: GdbCall
    patches_running_code: bool

    elf_machine: int
    byteorder: Byteorder
    dwarf_registers: tuple[str, ...]
    argument_registers: tuple[str, ...]
    return_address: str

    pt_regs_words: dict[str, int]
    pt_regs_members: dict[str, str]
    prstatus: tuple[str, ...]
    program_counter: str
    stack_pointer: str
    user_mode: tuple[str, int, int]

    bpf_syscall: int
    perf_event_open_syscall: int
    command_line_size: int

    vector_table: VectorTable
    vector_handlers: tuple[str, ...]
    pmd_size: int
    vmemmap: tuple[Variable, ...]
    vmemmap_size: tuple[Variable, ...]
    direct_map: tuple[Variable, ...]
    kernel_code: tuple[int, int] | None
    vmcoreinfo_pointer: int | None
    identity_base: bytes | None
    lock_holder_mask: int
    page_tables: PageTables

    @property
    def machine_type(self) -> str:
        """QEMU's name of the machine."""
        return self.machine[self.machine.index("-M") + 1]

    @property
    def order(self) -> str:
        """The byte order as struct and numpy spell it: `<` or `>`."""
        return "<" if self.byteorder == "little" else ">"
