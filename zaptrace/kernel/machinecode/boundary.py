"""Where instructions begin: a kprobe anywhere else is refused, or worse."""

from __future__ import annotations

from zaptrace.elf.image import Image
from zaptrace.kernel.machinecode import decoder_of

_LONGEST_FUNCTION = 1 << 20
_LONGEST = 15  # bytes of an instruction


def starts_instruction(image: Image, function: int, address: int) -> bool:
    """Return whether an instruction begins at an address of a function.

    True also after an instruction that we do not know, and where the file has no
    code: register_kprobe() decodes the function itself, and refuses with EILSEQ.
    """
    at, end = 0, address - function
    if not 0 <= end <= _LONGEST_FUNCTION:
        return False
    code, instruction_at = image.at(function, end + _LONGEST), decoder_of(image.arch)
    while at < end:
        instruction = instruction_at(code, at)
        if instruction is None:
            return True
        at += instruction.size
    return at == end
