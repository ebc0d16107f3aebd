"""How each architecture prints a stack and the registers: each era's printk(), rendered here.

`dump_stack()` prints the task, what begins the stack, and a line a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Frame = tuple[str, int, int, bool]
"""Symbol, offset, size, and whether the unwinder vouches for it."""

FRAMES: tuple[Frame, ...] = (
    ("dump_stack", 0x64, 0x80, True),
    ("bad_page", 0xB4, 0xE0, True),
    ("free_it.constprop.0", 0x1C8, 0x4A0, False),
    ("unmap_page_range", 0x2F0, 0x900, True),
    ("sys_exit_group", 0x18, 0x20, True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One way to print a stack.

    Attributes:
        name: the architecture and the kernels that print so.
        begins: what stands before the frames.
        frame: a line of the place-th frame.
        ends: what stands after them.
        marks: it shows which frames are not to be trusted.
        callees: each line names the frame above, too: the first has no line of its own.
        sized: it prints functions' sizes.
    """

    name: str
    begins: str
    frame: Callable[[Frame, int], str]
    ends: str = ""
    marks: bool = False
    callees: bool = False
    sized: bool = True


def _place(frame: Frame) -> str:
    symbol, offset, size, _ = frame
    return f"{symbol}+0x{offset:x}/0x{size:x}"


def _clue(frame: Frame) -> str:
    return "" if frame[3] else "? "


def _pc(base: int) -> Callable[[int], int]:
    return lambda place: base + 0x1234 + 0x110 * place


_64 = _pc(0xFFFFFFFF81000000)
_32 = _pc(0xC0100000)


def _before(place: int) -> Frame:
    return FRAMES[place - 1] if place else ("show_stack", 0x10, 0x20, True)


STACKS: tuple[Stack, ...] = (
    Stack(
        name="x86_64, 2.6.9 to 2.6.15",
        begins="\nCall Trace:",
        frame=lambda one, place: f"<{_64(place):016x}>{{{one[0]}+{one[1]}}}",
        sized=False,
    ),
    Stack(
        name="x86_64, 2.6.24, and of a module",
        begins="\nCall Trace:",
        frame=lambda one, place: f" [<{_64(place):016x}>] :ext3:{_place(one)}",
    ),
    Stack(
        name="i386, 2.6.24",
        begins="",
        frame=lambda one, place: f" [<{_32(place):08x}>] {_place(one)}",
        ends=" =======================",
    ),
    Stack(
        name="x86, 2.6.27 to 4.9",
        begins="Call Trace:",
        frame=lambda one, place: f" [<{_64(place):016x}>] {_clue(one)}{_place(one)}",
        marks=True,
    ),
    Stack(
        name="x86, 4.10 to 5.10",
        begins="Call Trace:",
        frame=lambda one, _: f" {_clue(one)}{_place(one)}",
        marks=True,
    ),
    Stack(
        name="x86, 5.16 to 7.3: tasks' and interrupts' stacks, build IDs",
        begins="Call Trace:\n <IRQ>",
        frame=lambda one, _: f" {_clue(one)}{_place(one)} [mod 0123456789abcdef0123]",
        ends=" </IRQ>\n <TASK>\n </TASK>",
        marks=True,
    ),
    Stack(
        name="arm, 2.6.24 to 3.5",
        begins="Backtrace: ",
        frame=lambda one, place: (
            f"[<{_32(place):08x}>] ({_before(place)[0]}+0x0/0x20) from "
            f"[<{_32(place + 1):08x}>] ({_place(one)})"
        ),
    ),
    Stack(
        name="arm, 3.6 to 5.12, and of a module",
        begins="Backtrace: ",
        frame=lambda one, place: (
            f"[<{_32(place):08x}>] ({_before(place)[0]}) from "
            f"[<{_32(place + 1):08x}>] ({_place(one)} [mod])"
        ),
        ends="[<c0000000>] (ret_fast_syscall) from [<b6f01234>] (0xb6f01234)",
    ),
    Stack(
        name="arm, 5.13 to 7.3",
        begins="Call trace: ",
        frame=lambda one, place: f" {_before(place)[0]} from {_place(one)}",
        ends="Exception stack(0xc1234fa8 to 0xc1234ff0)\n"
        "4fa0:                   00000000 00000000 00000001 be000000 00000000 00000000",
    ),
    Stack(
        name="arm64, 3.7 to 4.14",
        begins="Call trace:",
        frame=lambda one, place: f"[<{_pc(0xFFFF000008000000)(place):016x}>] {_place(one)}",
    ),
    Stack(
        name="arm64, 4.15 to 6.10",
        begins="Call trace:",
        frame=lambda one, _: f" {_place(one)}",
    ),
    Stack(
        name="arm64, 6.12 to 7.3: where a frame came from",
        begins="Call trace:",
        frame=lambda one, place: f" {_place(one)}{(' (C)', ' (P)', ' (FK)', '', ' (F)')[place]}",
    ),
    Stack(
        name="powerpc 64, 2.6.24: dots",
        begins="Call Trace:",
        frame=lambda one, place: (
            f"[{_pc(0xC00000003F000000)(place):016x}] [{_pc(0xC000000000000000)(place):016x}] "
            f".{_place(one)}{'' if one[3] else ' (unreliable)'}"
        ),
        marks=True,
    ),
    Stack(
        name="powerpc 32",
        begins="Call Trace:",
        frame=lambda one, place: (
            f"[{_pc(0xDF000000)(place):08x}] [{_32(place):08x}] "
            f"{_place(one)}{'' if one[3] else ' (unreliable)'}"
        ),
        marks=True,
    ),
    Stack(
        name="powerpc 64, 7.3, traced functions",
        begins="Call Trace:",
        frame=lambda one, place: (
            f"[{_pc(0xC00000003F000000)(place):016x}] [{_pc(0xC000000000000000)(place):016x}] "
            f"{_place(one)}{'' if one[3] else ' (unreliable)'}"
        ),
        ends="---- interrupt: 3000 at 0x7fff12345678",
        marks=True,
    ),
    Stack(
        name="powerpc, xmon",
        begins="[link register   ] c000000000150456 unmap_vmas+0x20/0x40",
        frame=lambda one, place: (
            f"[{_pc(0xC00000003F000000)(place):016x}] {_pc(0xC000000000000000)(place):016x} "
            f"{_place(one)}{'' if one[3] else ' (unreliable)'}"
        ),
        marks=True,
    ),
    Stack(
        name="s390, 2.6.24 to 4.9",
        begins="Call Trace:",
        frame=lambda one, place: (
            f" [<{_pc(0x100000)(place):016x}>] {_place(one)}"
            if one[3]
            else f"([<{_pc(0x100000)(place):016x}>] {_place(one)})"
        ),
        marks=True,
    ),
    Stack(
        name="s390, 4.10 to 7.3",
        begins="Call Trace:",
        frame=lambda one, place: (
            f" [<{_pc(0x100000)(place):016x}>] {_place(one)} "
            if one[3]
            else f"([<{_pc(0x100000)(place):016x}>] {_place(one)})"
        ),
        ends="Last Breaking-Event-Address:\n [<0000000000654321>] __s390_indirect_jump+0x0/0x10",
        marks=True,
    ),
    Stack(
        name="riscv, 4.15 to 5.4",
        begins="Call Trace:",
        frame=lambda one, place: f"[<{_pc(0xFFFFFFE000000000)(place):016x}>] {_place(one)}",
    ),
    Stack(
        name="mips: the first frame after the words, 2.6.24 to 7.3",
        begins="Call Trace:",
        frame=lambda one, place: f"[<{_pc(0x80100000)(place):08x}>] {_place(one)}",
    ),
    Stack(
        name="loongarch",
        begins="Call Trace:",
        frame=lambda one, place: f"[<{_pc(0x9000000000200000)(place):016x}>] {_place(one)}",
    ),
    Stack(
        name="sparc64",
        begins="Call Trace:",
        frame=lambda one, place: f" [{_pc(0x400000)(place):016x}] {_place(one)}",
    ),
    Stack(
        name="sparc32",
        begins="",
        frame=lambda one, place: f"[{_pc(0xF0000000)(place):08x} : {_place(one)} ] ",
    ),
    Stack(
        name="parisc",
        begins="Backtrace:",
        frame=lambda one, place: f" [<{_pc(0x40100000)(place):016x}>] {_place(one)}",
    ),
    Stack(
        name="ia64",
        begins="\nCall Trace:",
        frame=lambda one, place: (
            f" [<{_pc(0xA000000100000000)(place):016x}>] {_place(one)}\n"
            f"{'':32}sp=e00000003f{place:06x} bsp=e00000003e{place:06x}"
        ),
    ),
    Stack(
        name="alpha",
        begins="Trace:",
        frame=lambda one, place: f"[<{_pc(0xFFFFFC0000310000)(place):x}>] {_place(one)}",
    ),
    Stack(
        name="m68k: the first frame after the words",
        begins="Stack from 0012ffa4:\n        00301234 00012345\nCall Trace:",
        frame=lambda one, place: f" [<{_pc(0x10000)(place):08x}>] {_place(one)}",
    ),
    Stack(
        name="sh",
        begins="\nCall trace:",
        frame=lambda one, place: f" [<{_pc(0x88010000)(place):08x}>] {_clue(one)}{_place(one)}",
        marks=True,
    ),
    Stack(
        name="openrisc",
        begins="Call trace:",
        frame=lambda one, _: f"[<(ptrval)>] {_clue(one)}{_place(one)}",
        marks=True,
    ),
    Stack(
        name="xtensa",
        begins="Call Trace:",
        frame=lambda one, place: f" [<{_pc(0xD0010000)(place):08x}>] {_place(one)}",
    ),
    Stack(
        name="csky",
        begins="Call Trace:",
        frame=lambda one, place: f"[<{_pc(0x80010000)(place):08x}>] {_place(one)}",
    ),
    Stack(
        name="microblaze",
        begins="\nCall Trace:",
        frame=lambda one, place: f"[<{_pc(0xC0010000)(place):08x}>] {_place(one)}",
        ends="[<c0001234>] PID 99 [sh]",
    ),
    Stack(
        name="nios2",
        begins="Stack from c7d3fe90:\n        00000001 c000c3ac\nCall Trace:",
        frame=lambda one, place: f" [<{_pc(0xC0010000)(place):08x}>] {_place(one)}",
    ),
    Stack(
        name="arc",
        begins="\nStack Trace:",
        frame=lambda one, _: f"  {_place(one)}",
    ),
    Stack(
        name="hexagon",
        begins="CPU#0, sh/99, Call Trace:",
        frame=lambda one, place: (
            f"[{_pc(0xC1000000)(place):08x}] 0x{_32(place):x}: {one[0]} + 0x{one[1]:x}"
        ),
        sized=False,
    ),
    Stack(
        name="hexagon, of a module",
        begins="CPU#0, sh/99, Call Trace:",
        frame=lambda one, place: (
            f"[{_pc(0xC1000000)(place):08x}] 0x{_32(place):x}: {one[0]} + 0x{one[1]:x} "
            "(FP out of bounds!) [mod] "
        ),
        sized=False,
    ),
    Stack(
        name="um, 2.6.24 to 3.10",
        begins="Call Trace: ",
        frame=lambda one, place: (
            f"{_pc(0x6FE30000)(place):08x}:  [<{_32(place):08x}>] {_place(one)}"
        ),
    ),
    Stack(
        name="um, 3.12 to 7.3",
        begins="Stack:\n 6fe3f9a8 6002b6d4 00000001\nCall Trace:",
        frame=lambda one, place: f" [<{_pc(0x60000000)(place):08x}>] {_clue(one)}{_place(one)}",
        marks=True,
    ),
    Stack(
        name="avr32",
        begins="Call trace:",
        frame=lambda one, place: f" [<{_pc(0x90000000)(place):08x}>] {_place(one)}",
    ),
    Stack(
        name="tile",
        begins="Starting stack dump of tid 99, pid 99 (sh) on cpu 0 at cycle 123",
        frame=lambda one, place: (
            f"  frame {place}: 0x{_pc(0xFFFFFFF700000000)(place):x} {_place(one)} "
            f"(sp 0xfffffe00{place:08x})"
        ),
    ),
)
