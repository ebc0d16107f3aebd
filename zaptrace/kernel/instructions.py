"""Where instructions begin: a kprobe anywhere else is refused, or worse."""

from __future__ import annotations

from zaptrace.kernel.image import Image

_LONGEST_FUNCTION = 1 << 20


def starts_instruction(image: Image, function: int, address: int) -> bool:
    """Whether an instruction begins at an address of a function.

    True where only a disassembler could tell (x86_64: register_kprobe()
    decodes the function itself and refuses with EILSEQ).
    """
    sizes = image.arch.instruction_sizes
    if sizes is None:
        return True
    if not 0 <= address - function <= _LONGEST_FUNCTION:
        return False
    code = image.at(function, address - function)
    at = 0
    while at < len(code):
        at += sizes[code[at] >> 6]
    return at == address - function
