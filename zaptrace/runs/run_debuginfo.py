"""A run's debug info: out of its opened dump, or of its vmlinux alone."""

from __future__ import annotations

from pathlib import Path

import drgn

from zaptrace.memory.vmlinux import open_vmlinux
from zaptrace.model.errors import ZaptraceError
from zaptrace.model.events import Events
from zaptrace.runs.folder import RunFacts


def debug_info(
    prog: drgn.Program | None, facts: RunFacts, events: Events | None
) -> drgn.Program | None:
    """What knows the kernel's source lines; None when its vmlinux is gone, or another build's."""
    if prog is not None:
        return prog
    try:
        wanted = events.meta.get("build_id") if events else None
        return open_vmlinux(Path(facts.vmlinux), wanted, facts.kernel_offset or 0)
    except ZaptraceError:
        return None
