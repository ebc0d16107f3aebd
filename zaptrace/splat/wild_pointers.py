"""What the kernel took for a pointer when it oopsed, by the registers of a console's first oops.

x86 prints `RAX: 0123456789abcdef`, s390x four rows of four after `Krnl GPRS:`.
"""

from __future__ import annotations

import re

_MOST_LINES = 60
"""Lines of an oops up to its last register; an oops has some 40."""
_DEATHS = (
    # arch/x86/mm/fault.c, arch/x86/kernel/traps.c
    re.compile(
        r"unable to handle (?:kernel )?(?:page fault|paging request).{0,40}?([0-9a-f]{8,16})\b"
    ),
    re.compile(r"general protection fault(?:.{0,60}address 0x([0-9a-f]{8,16}))?"),
    # arch/s390/mm/fault.c: of the page, the last twelve bits are not known
    re.compile(r"Failing address: ([0-9a-f]{16})\b"),
)
_X86 = re.compile(r"\b(?:R[A-DS][XIP]|RBP|R0[89]|R1[0-5]): ([0-9a-f]{16})\b")
_S390 = re.compile(r"((?: +[0-9a-f]{16}){4})$")
_NEAR = 4096
"""Bytes from a pointer to the member that was accessed."""
_NON_CANONICAL = range(1 << 47, (1 << 64) - (1 << 47))


def wild_pointers(console: bytes) -> tuple[int, ...]:
    """Return the values in registers that led to an address which could not be accessed, in the
    first oops; none without one."""
    lines = console.decode(errors="replace").splitlines()
    for at, line in enumerate(lines):
        for death in _DEATHS:
            if found := death.search(line):
                address = int(found[1], 16) if found[1] else None
                values = _registers(lines[at : at + _MOST_LINES])
                return tuple(one for one in values if _leads_to(one, address))
    return ()


def _registers(lines: list[str]) -> dict[int, None]:
    """Return the values of the kernel's registers, in their order."""
    values: list[str] = []
    rows = 0
    for line in lines:
        if "RIP: 0033:" in line:  # the registers of user space follow
            break
        values += _X86.findall(line)
        if "Krnl GPRS:" in line or 0 < rows < 4:
            row = _S390.search(line.rstrip())
            values += row[1].split() if row else []
            rows += 1
    return dict.fromkeys(int(one, 16) for one in values)


def _leads_to(value: int, address: int | None) -> bool:
    """Return whether a register may hold the pointer that could not be followed."""
    if value < _NEAR:
        return False
    return value in _NON_CANONICAL if address is None else abs(value - address) < _NEAR
