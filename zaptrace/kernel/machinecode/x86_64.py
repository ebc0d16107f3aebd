"""x86_64 machine code: how long each instruction is, and where it continues.

Intel SDM, volume 2, chapter 2 and appendix A: only what decides an
instruction's length, and the branches.
"""

from __future__ import annotations

from zaptrace.kernel.machinecode.instruction import CALL, END, FORK, JUMP, PLAIN, TRAP, Instruction

_LEGACY = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3")
_OPERAND_SIZE = 0x66
_LONGEST = 15

# What follows an opcode, one letter each, 16 opcodes a line:
#   .  nothing          m  ModRM             b  8 bits          w  16 bits
#   z  32 bits (16 when the operand size is 16)                 v  z, or 64 with REX.W
#   n  ModRM, 8 bits    l  ModRM, z          t  ModRM, 8 bits when it is TEST
#   u  ModRM, z when it is TEST              o  an address of 64 bits
#   e  16 + 8 bits      d  32 bits            -  not in 64-bit mode, or a prefix
_ONE_BYTE = (
    "mmmmbz--mmmmbz--"  # 0x
    "mmmmbz--mmmmbz--"
    "mmmmbz--mmmmbz--"
    "mmmmbz--mmmmbz--"
    "----------------"  # 4x: REX
    "................"
    "---m----zlbn...."  # 6x
    "bbbbbbbbbbbbbbbb"
    "nl-nmmmmmmmmmmmm"  # 8x
    "..........-....."
    "oooo....bz......"  # Ax
    "bbbbbbbbvvvvvvvv"
    "nnw.--nle.w..b-."  # Cx
    "mmmm---.mmmmmmmm"
    "bbbbbbbbdd-b...."  # Ex
    "-.--..tu......mm"
)
_TWO_BYTE = (
    "mmmm-.....-.-m.-"  # 0F 0x
    "mmmmmmmmmmmmmmmm"
    "mmmm----mmmmmmmm"
    "........--------"  # 0F 3x
    "mmmmmmmmmmmmmmmm"
    "mmmmmmmmmmmmmmmm"
    "mmmmmmmmmmmmmmmm"
    "nnnnmmm.mm--mmmm"  # 0F 7x
    "dddddddddddddddd"
    "mmmmmmmmmmmmmmmm"
    "...mnm--...mnmmm"  # 0F Ax
    "mmmmmmmmmmnmmmmm"
    "mmnmnnnm........"  # 0F Cx
    "mmmmmmmmmmmmmmmm"
    "mmmmmmmmmmmmmmmm"
    "mmmmmmmmmmmmmmmm"
)
_MAPS = {1: _TWO_BYTE, 2: "m" * 256, 3: "n" * 256}
"""By the number that VEX and EVEX prefixes give them: 0F, 0F 38, 0F 3A."""


def instruction_at(code: bytes, at: int) -> Instruction | None:
    """Return the instruction at an index of some code; None when it is cut off or not known."""
    try:
        found = _decode(code, at)
    except IndexError:
        return None
    return found if found is not None and at + found.size <= len(code) else None


def called_from_end(code: bytes) -> int | None:
    """Return how far from its end the target of a direct call lies (CALL rel32); None where the six
    bytes end with none."""
    return int.from_bytes(code[2:], "little", signed=True) if code[1] == 0xE8 else None


def _decode(code: bytes, at: int) -> Instruction | None:
    short, wide, start = False, False, at
    while code[at] in _LEGACY:
        short |= code[at] == _OPERAND_SIZE
        at += 1
    if code[at] & 0xF0 == 0x40:  # REX
        wide = bool(code[at] & 8)
        at += 1
    number, at = _opcode_map(code, at)
    opcode = code[at]
    follows = _MAPS[number][opcode] if number in _MAPS else _ONE_BYTE[opcode]
    end = _end(code, at + 1, follows, short=short, wide=wide)
    if end is None or end - start > _LONGEST:
        return None
    if number > 1:
        return Instruction(end - start)
    return _branch(code, at, end - start, 0x0F00 | opcode if number else opcode)


def _opcode_map(code: bytes, at: int) -> tuple[int, int]:
    """Return the number of the opcode map, and where the opcode itself is."""
    match code[at]:
        case 0x0F:
            further = {0x38: 2, 0x3A: 3}.get(code[at + 1])
            return (further, at + 2) if further else (1, at + 1)
        case 0xC5:
            return 1, at + 2
        case 0xC4:
            return code[at + 1] & 0x1F, at + 3
        case 0x62:
            return code[at + 1] & 7, at + 4
    return 0, at


def _end(code: bytes, at: int, follows: str, *, short: bool, wide: bool) -> int | None:
    """Return where an instruction ends whose opcode ends at `at`."""
    operand = 2 if short else 4
    sizes = {".": 0, "b": 1, "w": 2, "e": 3, "d": 4, "z": operand, "o": 8}
    sizes["v"] = 8 if wide else operand
    if follows in sizes:
        return at + sizes[follows]
    if follows == "-":
        return None
    tests = code[at] >> 3 & 7 < 2  # F6 /0 and /1
    immediates = {"m": 0, "n": 1, "l": operand, "t": int(tests), "u": operand * int(tests)}
    return _after_modrm(code, at) + immediates[follows]


def _after_modrm(code: bytes, at: int) -> int:
    """Return where a ModRM byte, its SIB byte and its displacement end."""
    mode, low = code[at] >> 6, code[at] & 7
    at += 1
    if mode == 3:  # a register
        return at
    base = low
    if low == 4:  # a SIB byte follows
        base = code[at] & 7
        at += 1
    if mode == 0:
        return at + (4 if base == 5 else 0)  # no base register, or %rip
    return at + (1 if mode == 1 else 4)


def _branch(code: bytes, at: int, size: int, opcode: int) -> Instruction:
    """Return what an instruction does to the flow."""

    def away(count: int) -> int:
        """Return a branch's way, from the instruction's first byte."""
        start = at + 1
        return size + int.from_bytes(code[start : start + count], "little", signed=True)

    if opcode & 0xFFF0 == 0x70 or opcode in range(0xE0, 0xE4):
        return Instruction(size, FORK, away(1))
    if opcode & 0xFFF0 == 0x0F80:
        return Instruction(size, FORK, away(4))
    match opcode:
        case 0x0F0B:  # UD2
            return Instruction(size, TRAP)
        case 0xE8:
            return Instruction(size, CALL)
        case 0xE9:
            return Instruction(size, JUMP, away(4))
        case 0xEB:
            return Instruction(size, JUMP, away(1))
        case 0xC2 | 0xC3 | 0xCA | 0xCB | 0xCF:
            return Instruction(size, END)
        case 0xFF:
            # /2 and /3 are calls, /4 and /5 jumps: the target is not in the instruction.
            kinds = {2: CALL, 3: CALL, 4: END, 5: END}
            return Instruction(size, kinds.get(code[at + 1] >> 3 & 7, PLAIN))
    return Instruction(size)
