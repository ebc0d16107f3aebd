"""Stacks of probe hits, as the kernel writes them down."""

from __future__ import annotations

from zaptrace.model.events import ABSENT

_INSTRUCTION = 16  # bytes; no architecture has longer ones


def return_addresses(stack: list[int], site: int, caller: int) -> tuple[int, ...]:
    """Return the stack of a probe hit as return addresses alone, innermost first.

    The kernel's begins with the probed instruction, or even with the handling
    of the probe, and lacks the caller when the probe is at a function's first
    instruction, which has no frame yet: the record knows it.
    """
    probed = (n for n, one in enumerate(stack) if site <= one < site + _INSTRUCTION)
    rest = stack[next(probed, -1) + 1 :]
    if caller != ABSENT and rest[:1] != [caller]:
        rest = [caller, *rest]
    return tuple(rest)
