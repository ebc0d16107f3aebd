"""The architecture table: everything about a guest that differs between architectures.

To add one, add a row (and, where one is needed, a kconfig fragment NAME.config).
"""

from __future__ import annotations

from dataclasses import dataclass

from zaptrace.model.errors import BadInput


@dataclass(frozen=True, slots=True)
class Vector:
    """Where the CPUs' own table names the handler of `zaptrace.kernel.arches.Arch.vector`.

    Attributes:
        lowcore: absolute address of a new PSW, where the table is one of these.
        number: of a gate of the interrupt descriptor table otherwise.
    """

    lowcore: int | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Arch:
    """One architecture's row.

    Attributes:
        name: what users type, `uname -m`, and the kconfig fragment's name.
        debian: Debian's name of it.
        make_arch: the kernel's ARCH=.
        cross: prefix of the cross tools, also Debian's GNU triplet.
        packages: Debian packages that build for it and boot it; each a choice,
            the first one that the distribution has.
        make_target, image: what to make, and where the bootable image then is.
        build_steps: flavour -> lines that a build prints, for the progress bar (measured).
        virtio: how QEMU names its virtio devices here: virtio-blk-VIRTIO.
        qemu: the emulator.
        machine: its arguments for the machine itself.
        console: arguments for a serial console on chardev "console".
        append: kernel arguments that the console and the probes need.
        gdb_instruction: length in bytes of a breakpoint's instruction, as the
            gdb protocol's `Z1` packet wants it.
        patches_running_code: whether its kernel changes code (kprobes, static keys)
            that other CPUs may be running; else it stops them for that.
        vector: where its CPUs are told of a handler of the kernel's.
    """

    name: str
    debian: str
    make_arch: str
    cross: str
    packages: tuple[tuple[str, ...], ...]
    make_target: str
    image: str
    build_steps: dict[str, int]
    virtio: str
    qemu: str
    machine: tuple[str, ...]
    console: tuple[str, ...]
    append: str
    gdb_instruction: int
    patches_running_code: bool
    vector: Vector

    @property
    def machine_type(self) -> str:
        """QEMU's name of the machine."""
        return self.machine[self.machine.index("-M") + 1]


ARCHES = {
    arch.name: arch
    for arch in (
        Arch(
            name="s390x",
            debian="s390x",
            make_arch="s390",
            cross="s390x-linux-gnu-",
            packages=(
                ("gcc-s390x-linux-gnu",),
                ("libc6-dev-s390x-cross",),
                ("qemu-system-s390x", "qemu-system-misc"),
            ),
            make_target="bzImage",
            image="arch/s390/boot/bzImage",
            build_steps={"repro": 985, "live": 1321},
            virtio="ccw",
            qemu="qemu-system-s390x",
            machine=("-M", "s390-ccw-virtio"),
            console=("-device", "sclpconsole,chardev=console"),
            # The console has 6 pages of buffers and drops the oldest of them when an emulator that
            # is short of CPU lets them fill: whole reports of bugs were missing.  Let it wait.
            append="console=ttyS0 sclp_con_drop=0",
            gdb_instruction=2,
            patches_running_code=False,
            # struct lowcore (arch/s390/include/asm/lowcore.h): program_new_psw.  Of its PSWs
            # setup_lowcore() stores this one at absolute 0 too, with a virtual address.
            vector=Vector(lowcore=0x1D0),
        ),
        Arch(
            name="x86_64",
            debian="amd64",
            make_arch="x86_64",
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
            virtio="pci",
            qemu="qemu-system-x86_64",
            machine=("-M", "q35", "-device", "vmcoreinfo", "-device", "pvpanic"),
            console=("-device", "isa-serial,chardev=console"),
            # Optimised kprobes run with interrupts on, and miss what interrupts hit.  The timer's
            # check gives a starved emulator up: "IO-APIC + timer does not work!"
            append="console=ttyS0 no_timer_check sysctl.debug.kprobes-optimization=0",
            gdb_instruction=1,
            patches_running_code=True,
            vector=Vector(number=14),  # the page fault
        ),
    )
}


def arch_named(name: str) -> Arch:
    """The row of an architecture.

    Raises:
        BadInput: there is none of that name.
    """
    try:
        return ARCHES[name]
    except KeyError:
        known = ", ".join(sorted(ARCHES))
        raise BadInput(
            f"no guest architecture is called {name!r}", f"use one of: {known}"
        ) from None
