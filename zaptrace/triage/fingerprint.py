"""A fingerprint: the same for reports of one bug, whatever the page, the address and the task."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

from zaptrace.model.splats import Frame, OwnerStack, Splat
from zaptrace.triage.dump import page_type
from zaptrace.triage.signs import driver
from zaptrace.triage.stacks import Reading, Way, base_name, read_stack, reliable, without_printing

FRAMES = 2
"""Functions that identify a bug: those that called the allocator, or hold the failed assertion."""
_DIGITS = 12

# What changes from one report of a bug to the next, or from one build to the next.
_CHANGES = (
    (re.compile(r"\bCPU: [0-9]{1,5} PID: [0-9]{1,10} (?:at )?|, CPU#[0-9]{1,5}: .{0,80}"), ""),
    (re.compile(r"\+0x[0-9a-f]{1,16}/0x[0-9a-f]{1,16}"), ""),
    (re.compile(r"\[[^\]]{0,80}\]"), "[]"),
    (re.compile(r"(\.[chS]):[0-9]{1,7}"), r"\1"),
    (re.compile(r"\./"), ""),
    (re.compile(r"\b(?:0x[0-9a-f]{1,16}|(?=[a-f]{0,16}[0-9])[0-9a-f]{1,16})\b"), "N"),
    (re.compile(r"\b[a-f]{8,16}\b"), "N"),
)


def fingerprint(splat: Splat) -> str:
    """Return twelve hexadecimal digits: kind, reason, the page's nature, the functions at fault.

    A stack that only shows who looked at the page does not count.
    """
    parts = "\n".join(_parts(splat))
    return hashlib.sha256(parts.encode("utf-8", "replace")).hexdigest()[:_DIGITS]


def _parts(splat: Splat) -> Iterator[str]:
    yield splat.kind
    yield reason(splat)
    yield _nature(splat)
    yield driver(splat) or ""
    yield read_stack(splat.trace).way.value if splat.kind == "bad_page_state" else ""
    yield ",".join(at_fault(splat))
    owner = splat.page_owner
    for stack in (owner.allocated, owner.freed) if owner else ():
        yield ",".join(_owner(stack))


def reason(splat: Splat) -> str:
    """Return why the kernel reported it, without numbers."""
    if splat.rss_type:
        return f"{splat.rss_type} {'above' if (splat.rss_value or 0) > 0 else 'below'} 0"
    text = splat.reason or ""
    for pattern, instead in _CHANGES:
        text = pattern.sub(instead, text)
    return " ".join(text.split())


def _nature(splat: Splat) -> str:
    """Return what kind of page it was; flags that come and go with its use do not count."""
    if kind := page_type(splat):
        return kind
    for flag in ("reserved", "slab", "hugetlb"):
        if flag in splat.flags:
            return flag
    large = "large " if splat.folio or "head" in splat.flags else ""
    return f"{large}{'swap-backed' if 'swapbacked' in splat.flags else 'page'}"


def at_fault(splat: Splat) -> tuple[str, ...]:
    """Return the functions that identify the bug, innermost first; none if it was only seen."""
    if splat.kind != "bad_page_state":
        return _names(without_printing(splat.trace), FRAMES)
    return _of_freer(read_stack(splat.trace))


def severity(splat: Splat) -> str:
    """Return `bug`, `warning` (a WARN(): the kernel continued) or `any` (a mere dump)."""
    if splat.kind == "page_dump":
        return "any"
    warns = splat.kind == "vm_warn_on" or (splat.reason or "").startswith("WARNING")
    return "warning" if warns else "bug"


def _of_freer(reading: Reading) -> tuple[str, ...]:
    seen_later = reading.way in (Way.ALLOC, Way.DRAIN)
    return () if seen_later else _names(reading.callers, FRAMES)


def _owner(stack: OwnerStack | None) -> tuple[str, ...]:
    if stack is None:
        return ()
    return _names(read_stack(stack.trace).callers or reliable(stack.trace), FRAMES)


def _names(frames: Iterable[Frame], many: int) -> tuple[str, ...]:
    return tuple(base_name(frame.symbol or "") for frame in frames)[:many]
