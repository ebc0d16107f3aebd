"""Whether this kernel can do what is asked of it: checked before anything is touched."""

from __future__ import annotations

import os
from pathlib import Path

from probes.filters import COMM_SIZE, Filters
from probes.tgids import threads
from zaptrace.model.errors import BadInput, Missing

TRACING = Path("/sys/kernel/tracing")
LOCKDOWN = Path("/sys/kernel/security/lockdown")

KALLSYMS = Path("/proc/kallsyms")

_BCC = "apt-get install python3-bpfcc"


def check(root: Path, control: str, lockdown: Path = LOCKDOWN, kallsyms: Path = KALLSYMS) -> None:
    """Check that events can be defined.

    Raises:
        Missing: they cannot.
    """
    if os.geteuid() != 0 and not os.access(root / control, os.W_OK):
        raise Missing("tracing the kernel is for root alone", "run it with sudo")
    if _locked_down(lockdown):
        raise Missing("this kernel is locked down (confidentiality)", "boot it with lockdown=none")
    if not (root / control).exists() and control == "kprobe_events" and _is_without(kallsyms):
        raise Missing("this kernel has no kprobes", "boot a kernel with CONFIG_KPROBE_EVENTS=y")
    if not (root / "events").is_dir():
        raise Missing(f"tracefs is not mounted at {root}", f"mount -t tracefs tracefs {root}")
    if not (root / control).exists():
        raise Missing(f"this kernel has no {control}", "boot a kernel with CONFIG_KPROBE_EVENTS=y")


def check_tracefs_filters(filters: Filters) -> None:
    """Check that the filters are such that tracefs has.

    Raises:
        Missing: only bcc has one of them.
    """
    wanted = {
        "cgroup": filters.cgroup is not None,
        "anonymous memory": filters.anonymous,
        "large folios": filters.large_only,
    }
    for name in (name for name, is_wanted in wanted.items() if is_wanted):
        raise Missing(f"tracefs cannot filter by {name}: that needs bcc", _BCC)


def check_filters(filters: Filters) -> None:
    """Check that there is what the filters name.

    Raises:
        BadInput: a filter makes no sense.
    """
    for comm in filters.comms:
        if not 0 < len(comm.encode()) <= COMM_SIZE or not comm.isprintable() or '"' in comm:
            raise BadInput(f"{comm!r} is no task's name: 1 to {COMM_SIZE} bytes without quotes")
    for pid in filters.pids:
        if not threads(pid):
            raise BadInput(f"there is no process {pid}")
    # Every cgroup of the second version has it, and none of the first.
    if filters.cgroup is not None and not (filters.cgroup / "cgroup.controllers").is_file():
        raise BadInput(
            f"{filters.cgroup} is no cgroup v2 folder",
            "they lie where cgroup2 is mounted: findmnt -t cgroup2",
        )


def _is_without(kallsyms: Path) -> bool:
    """Return whether the kernel lists its symbols, and register_kprobe() is not among them."""
    try:
        text = kallsyms.read_text(errors="replace")
    except OSError:
        return False
    return bool(text) and " register_kprobe\n" not in text


def _locked_down(path: Path) -> bool:
    """Return whether kprobes and tracefs are closed to root too (LOCKDOWN_KPROBES, _TRACEFS)."""
    try:
        return "[confidentiality]" in path.read_text()
    except OSError:
        return False
