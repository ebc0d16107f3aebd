"""`zaptrace doctor`: what works here, and how to fix what does not."""

from __future__ import annotations

import argparse
import platform
import textwrap
from typing import TYPE_CHECKING

from zaptrace.model.errors import Exit

if TYPE_CHECKING:
    from zaptrace.runs.doctor import Check

DESCRIPTION = """\
Check this kernel (kprobes, BTF, BPF, tracefs, boot-time tracing, lockdown,
taint, kptr_restrict, debug symbols), its probes (as root, each is attached for
a moment), and this machine as a lab (QEMU, whether KVM really works, compilers,
disk, memory, apt).  Nothing is changed.
"""
EPILOG = """\
Exit status is 2 when something is missing that every command needs, else 0.

example:
  sudo zaptrace doctor
"""
WORDS = {True: "✓ yes", False: "✗ no", None: "? not known"}
AREAS = {"kernel": "this kernel", "probes": "its probes", "lab": "this machine as a lab"}
_WIDTH, _INDENT = 80, 33


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")


def run(args: argparse.Namespace) -> Exit:
    """Look, and print."""
    from zaptrace.runs import doctor

    checks = doctor.examine()
    if args.json:
        from zaptrace.cli.output import print_json

        print_json(doctor.as_json(checks))
    else:
        print(f"Linux {platform.release()} {platform.machine()}")
        print("\n".join(page(checks)))
    return Exit.OK if doctor.is_healthy(checks) else Exit.USAGE


def page(checks: list[Check]) -> list[str]:
    """Return the checks in lines of at most 80 columns where names allow it."""
    lines = []
    for area, title in AREAS.items():
        mine = [check for check in checks if check.area == area]
        lines += ["", title] if mine else []
        lines += [line for check in mine for line in _lines(check)]
    return lines


def _lines(check: Check) -> list[str]:
    blank = " " * _INDENT
    head = f"  {WORDS[check.works]:<12} {check.name}"
    wrapped = textwrap.wrap(check.says, _WIDTH, initial_indent=blank, subsequent_indent=blank)
    if len(head) < _INDENT:
        lines = [f"{head:<{_INDENT}}{wrapped[0].lstrip()}", *wrapped[1:]]
    else:
        lines = [head, *wrapped]
    # In one piece: it is to be copied.
    return lines + ([f"{blank}fix: {check.fix}"] if check.fix else [])
