"""How a story's task, page and counters are called, in every sentence alike."""

from __future__ import annotations

from zaptrace.explain.story import Story

NS_PER_US = US_PER_MS = 1000


def task(story: Story) -> str:
    """`mount/41`."""
    if story.comm is None and story.pid is None:
        return "an unknown task"
    return f"{story.comm or '?'}/{'?' if story.pid is None else story.pid}"


def page(story: Story) -> str:
    """`pfn 0x1f3c5`."""
    return "a page" if story.pfn is None else f"pfn {story.pfn:#x}"


def counters(raw_mapcount: int | None, refcount: int | None) -> str:
    """`mapcount 1, refcount 0`, whatever of it is known."""
    known = []
    if raw_mapcount is not None:
        known.append(f"mapcount {raw_mapcount + 1}")
    if refcount is not None:
        known.append(f"refcount {refcount}")
    return ", ".join(known) or "counters unknown"


def lateness(story: Story) -> float | None:
    """µs from the free to the rmap removal that came after it."""
    fault, late = story.fault, story.removed_late
    if not fault or not late or fault.time_ns is None or late.time_ns is None:
        return None
    return (late.time_ns - fault.time_ns) / NS_PER_US


def duration(microseconds: float) -> str:
    """`3.5 µs`, `36.3 ms`."""
    if microseconds < US_PER_MS:
        return f"{microseconds:.1f} µs"
    return f"{microseconds / US_PER_MS:.1f} ms"
