"""What a report takes after a line that is not its own.

Reports interleave, and logs lose lines: what comes after another's line can be the next line of the
report, or a line of another report of which the first lines are lost.  The kernel prints a report's
lines in one order: a line before which one is missing that is always printed is another report's,
and so is a stack that goes on but never comes to its end.
"""

from __future__ import annotations

import re
from collections.abc import Set
from copy import copy
from typing import Any

from zaptrace.model.splats import Frame
from zaptrace.splat.attributes import Attribute
from zaptrace.splat.beginnings import kind_of
from zaptrace.splat.kinds import Kind
from zaptrace.splat.same import same_form
from zaptrace.splat.stack_frames import begins_stacks

NAMES_TASK = frozenset({"task", "old task", "old cpu", "old process", "old release", "access"})
"""Lines of which one stands before each call trace, since 3.10."""
_AFTER_PAGE = frozenset({"folio", "memcg", "aops", "flags", "page_type", "raw", "reason"})
_AFTER_REASON = frozenset({"owner", "allocated", "freed"})
_PRINTS = re.compile(r"_{0,2}(?:dump|print|v?printk)")
_WARNS_IN = re.compile(r"^WARNING: .{1,300} (?:at )?([\w.$]{1,512})\+0x[0-9a-f]{1,16}/0x")
_OUTERMOST = re.compile(
    # Where tasks and CPUs begin.
    r"_{0,2}ret_from_(?:\w{1,6}_)?(?:fork|kernel_thread)|kthread$|kernel_(?:thread|init|entry)|child_rip"
    r"|(?:x86_64_)?start_(?:kernel|secondary)|(?:start_)?secondary|_{0,2}primary_switched"
    r"|cpu_startup_entry|rest_init|cpu_idle|startup_continue|start_here_|smp_callin"
    # Where user space, an exception or an interrupt enters the kernel.
    r"|entry_|asm_|sysenter_|system_call|do_syscall|syscall_|tracesys|stub_|page_fault$|error_code"
    r"|ret_(?:fast|slow|from)_|_{0,2}(?:dabt|pabt|irq)_usr|el0|linux_(?:sparc_)?sys|sys32?_call"
    r"|\w{1,40}(?:_virt|_common)$|fast_exception_return|interrupt_return"
    r"|handle_(?:sys|exception)|(?:pgm|ext|io)_(?:check|int|return)|_{1,3}(?:x64_|se_|arm64_)?sys_"
)
"""The outermost functions of stacks."""


def cannot_follow(name: str, kind: Kind, taken: Set[str], fields: dict[str, Any]) -> bool:
    """Return whether a line cannot be a report's next one: one that precedes it is missing, or one
    that follows it has come.

    Args:
        name: the line's name.
        kind: the report's.
        taken: the names of the lines that it has.
        fields: what they and the headline said.
    """
    starts_with_page = name in _AFTER_PAGE or kind.name in ("bad_page_state", "bad_page_cache")
    if name != "page" and starts_with_page and "page" not in taken:
        return True
    if name in ("raw", "reason") and not ("flags" in taken or "flags_word" in fields):
        return True
    if name in _AFTER_REASON and "reason" not in taken:
        return True
    is_named = names_task(taken, fields)
    if name in ("walk", "tables"):
        return is_named
    if name == "task":
        return not taken.isdisjoint(("hardware", "fault", "Tainted:"))
    if name == "hardware" or (name == "trace" and kind.about_pages):
        # People shorten oopses to the stack; the registers stand before it.
        return not is_named or (
            name == "trace" and "fault" in kind.follows and "fault" not in taken
        )
    return False


def contradicts(said: Attribute, taken: Set[str], fields: dict[str, Any]) -> bool:
    """Return whether a line contradicts those that a report has so far.

    The page's own line has its flags until 2.6.38, and is the whole dump then; a VMA has no raw
    words; x86 writes `Call Trace:`.
    """
    if said.name in _AFTER_PAGE and "flags" not in taken and "flags_word" in fields:
        return True
    if said.name == "flags":
        return "flags_word" in fields
    if said.name == "trace":
        return fields.get("x86", False) and not said.fields.get("x86", True)
    return said.name == "dumped" and not taken.isdisjoint(("page", "raw"))


def warns_elsewhere(reason: str, fault: Frame) -> bool:
    """Return whether a WARNING's headline names another function than the registers."""
    found = _WARNS_IN.search(reason)
    return found is not None and fault.offset is not None and found[1] != fault.symbol


def names_task(taken: Set[str], fields: dict[str, Any]) -> bool:
    """Return whether a report's lines have named the task or its CPU."""
    return not taken.isdisjoint(NAMES_TASK) or "pid" in fields or "cpu" in fields


def is_another_stack(stack: list[Frame], frame: Frame, kind: str) -> bool:
    """Return whether a frame after another's line does not continue a report's call trace.

    Args:
        stack: its frames so far.
        frame: the next one.
        kind: the report's.
    """
    printed = kind_of((*stack[:1], frame))
    if printed is not None and (printed != kind or (kind_of((frame,)) and kind_of(stack))):
        return True
    if not stack:
        return not begins_stacks(frame) or "bad_p" in (frame.symbol or "")
    again = frame.symbol == stack[0].symbol and frame.size == stack[0].size
    again |= not same_form(frame, stack[-1])
    return again or (begins_stacks(frame) and not all(map(begins_stacks, stack)))


def begins_another(first: Frame, fault: list[Frame], *, x86: bool) -> bool:
    """Return whether an oops' stack begins in what prints reports of another kind, and not in what
    that calls; or, on x86, in another form than the registers.

    Args:
        first: its first frame.
        fault: the functions that the CPU was in.
        x86: whether a line of x86's registers has named them.
    """
    if x86 and fault and fault[-1].address is None and first.address is not None:
        return True  # both lost their addresses in 4.10: bb5e5ce545f2
    return kind_of((first,)) is not None and not (fault and _PRINTS.match(fault[-1].symbol or ""))


def is_outermost(frame: Frame) -> bool:
    """Return whether a stack ends with a frame: nothing called its function."""
    return frame.symbol is None or _OUTERMOST.match(frame.symbol) is not None


_GROWING = (
    *("fields", "taken", "ended", "foreign", "kind", "_came", "_trace", "_early", "_fault"),
    *("_early_is_trace", "_owners", "_stacks", "_section"),
)
"""What of a Draft changes as lines are taken."""


class Saved:
    """A report's values as they were before another's line."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = {
            name: {key: copy(stack) for key, stack in value.items()}
            if name == "_stacks"
            else copy(value)
            for name, value in ((name, values[name]) for name in _GROWING)
        }

    def had(self, name: str) -> bool:
        """Return whether the report had a line by then."""
        return name in self._values["taken"]

    def restore(self, values: dict[str, Any]) -> None:
        """Take back whatever the report took since."""
        values.update(self._values)
