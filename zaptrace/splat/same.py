"""Whether two lines of a log speak of the same thing."""

from __future__ import annotations

import re
from typing import Any

from zaptrace.model.splats import Frame

_INLINED_AT = re.compile(
    r"BUG: K[A-Z]{2,4}AN: [\w-]{1,64} in |WARNING: (?:CPU: [0-9]{1,5} PID: [0-9]{1,10} )?"
    r"(?:at )?\S{1,200}:[0-9]{1,7} "
)


def maps(pte: int | None, pfn: int | None) -> bool:
    """Return whether a PTE of some architecture can hold a page's number."""
    if not pte or not pfn:
        return False
    mask = (1 << (pfn.bit_length() + 4)) - 1
    return any(pte >> shift & mask == pfn for shift in range(6, 17))


def same_task(process: str | None, comm: str | None) -> bool:
    """Return whether a headline's process can be the task line's: either can be cut or its blanks
    lost."""
    return process is None or comm is None or process.split() == comm.split()


def is_inlined(said: dict[str, Any], again: dict[str, Any]) -> bool:
    """Return whether a symbolizer repeats a headline, for the function that holds the inlined
    one."""
    first, second = said.get("reason") or "", again.get("reason") or ""
    found = _INLINED_AT.match(first)
    return bool(found and first.endswith(" [inline]") and f"{second} ".startswith(found[0]))


def same_place(one: Frame, other: Frame) -> bool:
    """Return whether two frames show one return address."""
    return one.symbol == other.symbol and one.offset == other.offset


def is_half(name: Frame, frame: Frame) -> bool:
    """Return whether a bare name is the first half of a frame's line, which was broken after it."""
    is_bare = name.offset is None and name.source is None
    is_whole = frame.offset is not None or frame.source is not None
    return is_bare and is_whole and name.symbol == frame.symbol


def same_form(one: Frame, other: Frame) -> bool:
    """Return whether two frames can be lines of one stack: both with an address as wide, or both
    without; a decoded one may have lost it."""
    if one.source or other.source:
        return True
    if one.address is None or other.address is None:
        return one.address is other.address
    return (one.address < 1 << 32) is (other.address < 1 << 32)


_XMONS_BUG = re.compile(r"kernel BUG at (:[0-9]{1,7}!)$")


def is_named_by_xmon(said: dict[str, Any], again: dict[str, Any]) -> bool:
    """Return whether powerpc's xmon names a BUG() once more, without its file."""
    found = _XMONS_BUG.match(again.get("reason") or "")
    return found is not None and (said.get("reason") or "").endswith(found[1])


def from_fault(fault: list[Frame], trace: list[Frame]) -> list[Frame]:
    """Return a call trace that begins where the CPU was.

    Args:
        fault: the functions inlined there, and the one that holds them.
        trace: the frames of the call trace.
    """
    if not fault:
        return trace
    alike = (one for one in trace if (one.offset is None) == (fault[-1].offset is None))
    first = next(alike, None)
    if not (first and same_place(first, fault[-1])):
        return [*fault, *trace]
    # The trace does not show what was inlined there.
    return [*fault[:-1], *trace] if trace[0] is first else trace
