"""s390x machine code: how long each instruction is, and where it continues.

z/Architecture Principles of Operation, chapters 5 and 7 (branches).
"""

from __future__ import annotations

from zaptrace.kernel.machinecode.instruction import (
    CALL,
    END,
    FORK,
    JUMP,
    PLAIN,
    TRAP,
    Instruction,
    Kind,
)

_SIZES = (2, 4, 4, 6)  # by the opcode's first two bits
_ALWAYS = 15
"""The mask of a branch that is always taken; 0: never."""
_RELATIVE = {
    # First byte, low half of the second -> what it does, and how many halfwords
    # after it stands how far away its target is, in bytes.
    (0xA7, 0x4): 2,  # BRC
    (0xA7, 0x6): 2,  # BRCT
    (0xA7, 0x7): 2,  # BRCTG
    (0xC0, 0x4): 4,  # BRCL
    (0xCC, 0x6): 4,  # BRCTH
}
_MASKED = frozenset({(0xA7, 0x4), (0xC0, 0x4)})
_CALLS = frozenset({(0xA7, 0x5), (0xC0, 0x5)})  # BRAS, BRASL
_RELATIVE_DATA = frozenset({0xC4, 0xC6})
"""First byte of LGRL, LRL, STGRL, ...; of EXRL and what compares.  A kprobe on LGRL in 6.12's
free_unref_page() single-stepped for ever (QEMU 7.2, TCG)."""
_INDEXED = frozenset({0x84, 0x85})  # BRXH, BRXLE
_COMPARING = frozenset({0x44, 0x45, 0x64, 0x65, 0x76, 0x77, 0x7C, 0x7D, 0x7E, 0x7F})
"""Last byte of EC: BRXHG, BRXLG, CGRJ, CLGRJ, CRJ, CLRJ, CGIJ, CLGIJ, CIJ, CLIJ."""


def instruction_at(code: bytes, at: int) -> Instruction | None:
    """Return the instruction at an index of some code; None when it is cut off."""
    if at >= len(code):
        return None
    size = _SIZES[code[at] >> 6]
    raw = code[at : at + size]
    if len(raw) < size:
        return None
    key = (raw[0], raw[1] & 0xF)
    if key in _CALLS:
        return Instruction(size, CALL)
    if (width := _RELATIVE.get(key)) is not None:
        kind = _masked(raw[1] >> 4, JUMP) if key in _MASKED else FORK
        return Instruction(size, kind, _away(raw, width) if kind != PLAIN else 0)
    if raw[0] in _INDEXED or (raw[0] == 0xEC and raw[5] in _COMPARING):
        return Instruction(size, FORK, _away(raw, 2))
    if raw[0] in _RELATIVE_DATA:
        return Instruction(size, relative=True)
    return Instruction(size, _through_register(raw))


def called_from_end(code: bytes) -> int | None:
    """Return how far from its end the target of a direct call lies; None where the six bytes end
    with none.

    BRASL and BRAS count from their own first byte.
    """
    if (code[0], code[1] & 0xF) == (0xC0, 0x5):
        return _away(code, 4) - 6
    return _away(code[2:], 2) - 4 if (code[2], code[3] & 0xF) == (0xA7, 0x5) else None


def _away(raw: bytes, width: int) -> int:
    return 2 * int.from_bytes(raw[2 : 2 + width], "big", signed=True)


def _masked(mask: int, always: Kind) -> Kind:
    return {_ALWAYS: always, 0: PLAIN}.get(mask, FORK)


def _through_register(raw: bytes) -> Kind:
    """Classify MC, BASR, BCR and BC: what may not be taken continues after itself."""
    if raw[0] == 0xAF:  # MC
        return TRAP
    if raw[0] in (0x05, 0x0D) and raw[1] & 0xF:
        return CALL
    ends = (raw[0] == 0x07 and raw[1] & 0xF) or raw[0] == 0x47
    return END if ends and raw[1] >> 4 == _ALWAYS else PLAIN
