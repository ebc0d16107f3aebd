"""How a story's task, page and counters are called, in every sentence alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zaptrace.model.findings import Finding
from zaptrace.model.splats import Splat
from zaptrace.model.task_name import task_name

if TYPE_CHECKING:
    from zaptrace.explain.story import Story

NS_PER_US = US_PER_MS = 1000
LONGEST_REASON = 160
"""Characters of a failed check in a sentence: VM_BUG_ON_PAGE() of a macro prints it expanded."""


def task(story: Story) -> str:
    """Return `mount/41`."""
    if story.comm is None and story.pid is None:
        return "an unknown task"
    return task_name(story.comm, story.pid)


def page(story: Story) -> str:
    """Return `pfn 0x1f3c5`."""
    return "a page" if story.pfn is None else f"pfn {story.pfn:#x}"


def counters(raw_mapcount: int | None, refcount: int | None) -> str:
    """Return `mapcount 1, refcount 0`, whatever of it is known."""
    known = []
    if raw_mapcount is not None:
        known.append(f"mapcount {raw_mapcount + 1}")
    if refcount is not None:
        known.append(f"refcount {refcount}")
    return ", ".join(known) or "counters unknown"


def reason_of(splat: Splat) -> str:
    """Return why the kernel printed a report, else its kind, short enough for a sentence."""
    return cut_reason(splat.reason or splat.kind.replace("_", " "))


def cut_reason(reason: str | None) -> str:
    """Return a reason, cut where it is too long for a sentence; empty without one."""
    reason = reason or ""
    return reason if len(reason) <= LONGEST_REASON else reason[: LONGEST_REASON - 1] + "…"


_FREE_CHECK = (
    *("lru", "private", "private_2", "locked", "waiters", "writeback", "reserved", "slab"),
    *("active", "unevictable", "mlocked", "hwpoison"),
)
"""PAGE_FLAGS_CHECK_AT_FREE, include/linux/page-flags.h: none of these on a page that is freed."""


def flags_of(reason: str | None, *sources: Splat | Finding | None) -> str | None:
    """Return `flag mlocked set`: the flags that kept a page from being freed, where that was
    why."""
    if not (reason or "").startswith("PAGE_FLAGS_CHECK"):
        return None
    found = {flag: None for one in sources if one for flag in one.flags if flag in _FREE_CHECK}
    return f"flag{'' if len(found) == 1 else 's'} {', '.join(found)} set" if found else None


def rss_value(splat: Splat) -> str:
    """Return `MM_ANONPAGES +1`: an rss counter that was wrong when an mm was freed."""
    return f"{splat.rss_type or 'a counter'} {splat.rss_value:+d}"


def when_freed(splats: Sequence[Splat]) -> str:
    """Return `when sh/40 freed an mm`: no report says whose mm it was.

    check_mm() prints `current` (since 6.16): for an mm that ended that is mostly the next task on
    its CPU, which drops the last reference in finish_task_switch().
    """
    known = [one for one in splats if one.comm or one.process]
    tasks = {task_name(one.comm or one.process, one.pid) for one in known}
    if len(tasks) == 1:
        return f"when {tasks.pop()} freed an mm"
    several = len({one.mm for one in splats if one.mm is not None}) > 1
    return "when mms were freed" if tasks or several else "when an mm was freed"


def lateness(story: Story) -> float | None:
    """Return µs from the free to the rmap removal that came after it."""
    fault, late = story.fault, story.removed_late
    if not fault or not late or fault.time_ns is None or late.time_ns is None:
        return None
    return (late.time_ns - fault.time_ns) / NS_PER_US


def duration(microseconds: float) -> str:
    """Return `3.5 µs`, `36.3 ms`."""
    if microseconds < US_PER_MS:
        return f"{microseconds:.1f} µs"
    return f"{microseconds / US_PER_MS:.1f} ms"
