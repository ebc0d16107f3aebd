"""The running kernel's abilities, found by what it says of itself, never by its version."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from zaptrace.kernel import kallsyms, page_checks
from zaptrace.kernel.plan_cache import cached_plan
from zaptrace.kernel.running import debug_hint, running_build_id, running_vmlinux
from zaptrace.runs.doctor.check import Check

AREA = "kernel"


@dataclass(frozen=True, slots=True)
class Ability:
    """Something that the kernel has when it has a function.

    Attributes:
        function: one that is there only with the option.
        option: what to set when the kernel is built.
        wanted_for: what needs it.
    """

    name: str
    function: str
    option: str
    wanted_for: str
    needed: bool = False


ABILITIES = (
    # kernel/kprobes.c, kernel/trace/trace_kprobe.c
    Ability("kprobes", "register_kprobe", "CONFIG_KPROBES", "every live event", needed=True),
    Ability("kprobe events", "trace_kprobe_create", "CONFIG_KPROBE_EVENTS", "the tracefs source"),
    # kernel/bpf/ringbuf.c, kernel/trace/bpf_trace.c
    Ability("BPF", "bpf_ringbuf_reserve", "CONFIG_BPF_SYSCALL", "the bcc source"),
    Ability("BPF on kprobes", "trace_call_bpf", "CONFIG_BPF_EVENTS", "the bcc source"),
    # kernel/trace/trace_boot.c
    Ability(
        "boot-time tracing",
        "trace_boot_init",
        "CONFIG_BOOTTIME_TRACING",
        "events of a repro boot of this kernel; live sessions do without",
    ),
)
_TAINTS = "PFSRMBUDAWCIOELKXTNJ"
"""Letters by bit (kernel/panic.c, taint_flags)."""
_SEEN_TROUBLE = {"B": "a bad page", "D": "an oops", "M": "a machine check"}


def checks(root: Path) -> list[Check]:
    """Return all checks of the kernel.

    Args:
        root: where proc, sys and boot are; `/` but for tests.
    """
    symbols = kallsyms.read(root / "proc/kallsyms")
    return [
        _privilege(),
        *(_ability(one, symbols) for one in ABILITIES),
        _tracefs(_read(root / "proc/self/mounts") or ""),
        _btf(root / "sys/kernel/btf/vmlinux"),
        _debug_symbols(root / "sys/kernel/notes"),
        _lockdown(_read(root / "sys/kernel/security/lockdown")),
        _kptr_restrict(_read(root / "proc/sys/kernel/kptr_restrict")),
        _taint(_read(root / "proc/sys/kernel/tainted")),
        _page_checks(symbols, root),
    ]


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _privilege() -> Check:
    if os.geteuid() == 0:
        return Check(AREA, "privilege", works=True, says="root: probes can be attached")
    says = "not root: lab guests work, events of this machine do not; probes are not tried"
    return Check(AREA, "privilege", None, says, "sudo zaptrace doctor", needed=False)


def _ability(ability: Ability, symbols: bytes) -> Check:
    if not symbols:
        fix = "boot a kernel with CONFIG_KALLSYMS=y"
        return Check(AREA, ability.name, None, "not known: no /proc/kallsyms", fix, ability.needed)
    if f" {ability.function}\n".encode() in symbols:
        return Check(AREA, ability.name, works=True, says=f"for {ability.wanted_for}")
    says = f"this kernel has none ({ability.option} is not set); for {ability.wanted_for}"
    fix = f"boot a kernel with {ability.option}=y"
    return Check(AREA, ability.name, works=False, says=says, fix=fix, needed=ability.needed)


def _page_checks(symbols: bytes, root: Path) -> Check:
    found = page_checks.running(symbols, root)
    says = f"pages are looked at: {found.says}" if found.on else found.says
    fix = None if found.on else page_checks.FIX
    return Check(AREA, "page checks", found.on, says, fix, needed=False)


def _tracefs(mounts: str) -> Check:
    places = [line.split()[1] for line in mounts.splitlines() if line.split()[2:3] == ["tracefs"]]
    if places:
        return Check(AREA, "tracefs", works=True, says=f"mounted at {places[0]}")
    fix = "mount -t tracefs tracefs /sys/kernel/tracing"
    return Check(AREA, "tracefs", works=False, says="not mounted", fix=fix, needed=False)


def _btf(path: Path) -> Check:
    if path.exists():
        says = f"{path.stat().st_size / 2**20:.1f} MiB: probes need no debug symbols"
        return Check(AREA, "BTF", works=True, says=says)
    says = "this kernel has none: without debug symbols, events come without arguments"
    fix = "boot a kernel with CONFIG_DEBUG_INFO_BTF=y"
    return Check(AREA, "BTF", works=False, says=says, fix=fix, needed=False)


def _debug_symbols(notes: Path) -> Check:
    identity = running_build_id(notes)
    if identity is not None and cached_plan(identity) is not None:
        return Check(AREA, "debug symbols", works=True, says="this kernel's probe plan is kept")
    found = running_vmlinux(identity) if identity is not None else None
    if found is not None:
        return Check(AREA, "debug symbols", works=True, says=str(found))
    says = "not installed: inlined functions and source lines are not seen"
    fix = debug_hint(platform.release(), identity)
    return Check(AREA, "debug symbols", works=False, says=says, fix=fix, needed=False)


def _lockdown(text: str | None) -> Check:
    """Kprobes, BPF and tracefs are closed to root as well under "confidentiality" only."""
    if text is None:
        return Check(AREA, "lockdown", works=True, says="none")
    current = text.partition("[")[2].partition("]")[0] or "not known"
    if current == "confidentiality":
        says = "confidentiality: probes are closed to root as well"
        return Check(AREA, "lockdown", False, says, "boot with lockdown=none, Secure Boot off")
    return Check(AREA, "lockdown", works=True, says=current)


def _kptr_restrict(text: str | None) -> Check:
    value = (text or "").strip()
    if value != "2":
        says = f"{value or 'not known'}: root sees kernel addresses"
        return Check(AREA, "kptr_restrict", works=True, says=says)
    says = "2: kernel addresses are hidden from root too, and callers have no names"
    fix = "sysctl kernel.kptr_restrict=1"
    return Check(AREA, "kptr_restrict", works=False, says=says, fix=fix, needed=False)


def _taint(text: str | None) -> Check:
    value = int(text) if text is not None and text.strip().isdigit() else 0
    letters = "".join(letter for bit, letter in enumerate(_TAINTS) if value >> bit & 1)
    trouble = [what for letter, what in _SEEN_TROUBLE.items() if letter in letters]
    if trouble:
        says = f"{letters}: it has met {' and '.join(trouble)} since it was booted"
        return Check(AREA, "taint", False, says, "reboot", needed=False)
    return Check(AREA, "taint", works=True, says=letters or "not tainted")
