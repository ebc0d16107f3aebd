"""Who allocated and who freed a page last, by page_owner=on (mm/page_owner.c)."""

from __future__ import annotations

from typing import Any

import drgn
from drgn.helpers.linux.mmzone import NODE_DATA, pfn_to_section
from drgn.helpers.linux.stackdepot import stack_depot_fetch

from zaptrace.audit.mms import printable

_OWNER, _ALLOCATED = "PAGE_EXT_OWNER", "PAGE_EXT_OWNER_ALLOCATED"
_INVALID = 1  # PAGE_EXT_INVALID, mm/page_ext.c
_MOST_FRAMES = 64
_ITS_OWN = ("save_stack", "__set_page_owner", "set_page_owner", "reset_page_owner")


def page_owner(prog: drgn.Program, pfn: int) -> dict[str, Any] | None:
    """Return what page_owner recorded of a page.

    Returns:
        `allocated` (the page is in use by it), `order`, `pid`, `comm`, `ts_ns`, `stack`,
        `free_pid`, `free_ts_ns` and `free_stack`; None where it is off or recorded nothing.

    Raises:
        drgn.FaultError, LookupError: its records are not in the dump, or unlike those we know.
    """
    extension = _page_ext(prog, pfn)
    if extension is None:
        return None
    flags = extension.flags.value_()
    if not flags >> prog.constant(_OWNER).value_() & 1:
        return None
    offset = prog["page_owner_ops"].offset.value_()
    owner = drgn.Object(prog, "struct page_owner *", value=extension.value_() + offset)
    found = {
        "allocated": bool(flags >> prog.constant(_ALLOCATED).value_() & 1),
        "order": owner.order.value_(),
        "pid": owner.pid.value_(),
        "comm": printable(owner.comm.string_()),
        "ts_ns": owner.ts_nsec.value_(),
        "stack": _stack(owner.handle),
        "free_ts_ns": owner.free_ts_nsec.value_(),
        "free_stack": _stack(owner.free_handle),
    }
    # "mm/page_owner: record and dump free_pid and free_tgid" (6.8)
    found["free_pid"] = owner.free_pid.value_() if hasattr(owner, "free_pid") else None
    return found


def _page_ext(prog: drgn.Program, pfn: int) -> drgn.Object | None:
    """lookup_page_ext() (mm/page_ext.c); None without CONFIG_PAGE_OWNER, or when it is off."""
    try:
        size = prog["page_ext_size"].value_()
        prog.variable("page_owner_ops")
    except LookupError:
        return None
    try:
        base = pfn_to_section(prog, pfn).page_ext.value_()
    except (LookupError, AttributeError):  # without SPARSEMEM
        node = NODE_DATA(prog, 0)
        base = node.node_page_ext.value_()
        pfn -= node.node_start_pfn.value_()
    if not base or base & _INVALID:
        return None
    return drgn.Object(prog, "struct page_ext *", value=base + size * pfn)


def _stack(handle: drgn.Object) -> list[str]:
    """Return a stack's frames, `function at file:line`, innermost first; none where no stack was
    kept."""
    if not handle.value_():
        return []
    trace = stack_depot_fetch(handle)
    if trace is None:
        return []
    frames = [trace[number] for number in range(min(len(trace), _MOST_FRAMES))]
    return [_text(frame) for frame in frames if frame.name not in _ITS_OWN]


def _text(frame: drgn.StackFrame) -> str:
    name = printable((frame.name or "?").encode())
    try:
        file, line, _ = frame.source()
    except LookupError:
        return name
    return f"{name} at {printable(file.removeprefix('./').encode())}:{line}"
