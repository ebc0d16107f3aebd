"""Which function a return address's call had called: a tail call hides it from a call stack.

A function that ends with a call jumps there instead (gcc's sibling calls): the stack then has its
caller, and what it went to.  s390x's folio_batch_move_lru() leaves for folios_put_refs() that way.
"""

from __future__ import annotations

import re
from pathlib import Path

import drgn

from zaptrace.elf.image import Image
from zaptrace.kernel.machinecode import LONGEST_CALL, call_target
from zaptrace.life.named_life import Function
from zaptrace.model.errors import ZaptraceError

_THUNKS = re.compile(
    r"__(?:x86|s390)_(?:indirect|return)_\w+|__SCT__\w+|__fentry__|_?mcount|ftrace_\w+"
)
"""What stands for a call through a register, or for a tracer."""
_NONE = Function("", 0, 0)


class CalledFunctions:
    """The direct calls of a kernel's own code, by its vmlinux.

    Args:
        prog: names addresses as the kernel ran.
        offset: how far above its link-time addresses it ran, in bytes modulo 2**64.
    """

    def __init__(self, prog: drgn.Program, vmlinux: Path, offset: int) -> None:
        self._prog, self._offset = prog, offset
        self._known: dict[int, Function] = {}
        try:
            with Image(vmlinux) as image:
                self._code = {
                    image.sections[name].address: image.data(name) or b""
                    for name in (".text", ".init.text")
                    if name in image.sections
                }
                self._arch = image.arch
        except ZaptraceError:
            self._code = {}

    def __call__(self, returns_to: int) -> Function | None:
        """Return the function that was called; None where that is not known."""
        if returns_to not in self._known:
            self._known[returns_to] = self._find(returns_to)
        found = self._known[returns_to]
        return None if found is _NONE else found

    def _find(self, returns_to: int) -> Function:
        linked = (returns_to - self._offset) % 2**64
        for start, code in self._code.items():
            at = linked - start
            if LONGEST_CALL <= at <= len(code):
                target = call_target(self._arch, code[at - LONGEST_CALL : at], returns_to)
                return _NONE if target is None else self._named(target)
        return _NONE

    def _named(self, address: int) -> Function:
        try:
            symbol = self._prog.symbol(address)
        except LookupError:
            return _NONE
        if _THUNKS.fullmatch(symbol.name):
            return _NONE
        return Function(symbol.name.partition(".")[0], symbol.address, symbol.size)
