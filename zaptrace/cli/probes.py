"""`zaptrace probes`: where one kernel's events are taken, and where each argument lies there."""

from __future__ import annotations

import argparse
import textwrap
import time
from pathlib import Path

from zaptrace.model.errors import Exit
from zaptrace.model.plan import MissingEvent, ProbeArg, ProbePlan, ProbeSite

_WIDTH = 80
_NAME = 14
_LOCATION = 18

DESCRIPTION = """\
Show the probe plan of a kernel: every site of zap_pte_range (inlined or not),
the functions that remove an rmap, those that free pages, bad_page and
print_bad_pte; with each argument's location as an ftrace fetch argument.  The
plan comes from the vmlinux's symbols and DWARF alone: no kernel has to run.
An argument that the compiler optimised away is listed as missing, not guessed.

Without VMLINUX it is the running kernel's plan: from its debug info where that
is installed, else from BTF and kallsyms, with the nearest functions that are
not inlined.
"""
EPILOG = """\
locations:
  %r8            a register
  +200(%r15)     memory, at the register's value plus 200
  at entry       take it where the enclosing function begins (zap_enter), and
                 join the two events by thread
  + 4096         add this to what was fetched

Plans are kept in the cache folder ($XDG_CACHE_HOME/zaptrace/plans) by build ID.

examples:
  zaptrace probes
  zaptrace probes /usr/lib/debug/boot/vmlinux-$(uname -r)
  zaptrace probes vmlinux --json | jq '.sites[] | select(.event == "zap")'
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = EPILOG
    parser.add_argument(
        "vmlinux",
        type=Path,
        nargs="?",
        metavar="VMLINUX",
        help="ELF file with debug info; default: the running kernel",
    )
    parser.add_argument("--json", action="store_true", help="print the plan as one JSON document")


def run(args: argparse.Namespace) -> Exit:
    """Print the plan; a kernel that cannot give an event is no error."""
    from zaptrace.kernel import plan_for, running_plan

    started = time.perf_counter()
    plan = plan_for(args.vmlinux) if args.vmlinux is not None else running_plan()
    seconds = time.perf_counter() - started
    if args.json:
        from zaptrace.cli.output import print_json

        print_json(plan.to_json())
    else:
        print("\n".join(table(plan, seconds)))
    return Exit.OK


def table(plan: ProbePlan, seconds: float) -> list[str]:
    """Return the plan for people, in lines of at most 80 columns where names allow it.

    Args:
        seconds: how long it took to resolve.
    """
    lines = [
        f"Linux {plan.release or '(unknown release)'} {plan.arch}",
        f"build ID {plan.build_id or '(none)'}",
        f"{len(plan.sites)} probe sites, resolved in {seconds * 1000:,.0f} ms",
    ]
    for site in plan.sites:
        lines += ["", *_site(site)]
    for note in plan.notes:
        lines += ["", *textwrap.wrap(note, _WIDTH)]
    if plan.missing:
        lines += ["", "not available in this kernel:"]
        lines += [line for gap in plan.missing for line in _gap(gap)]
    return lines


def _site(site: ProbeSite) -> list[str]:
    place = f"{site.symbol}+{site.offset:#x}" if site.offset else site.symbol
    how = f"{site.function} inlined" if site.inlined else "function entry"
    lines = [f"{site.event:<{_NAME}}{place}", f"{'':<{_NAME}}{how}, {site.source or '(no source)'}"]
    for name, arg in site.args.items():
        lines += _arg(name, arg)
    return lines


def _arg(name: str, arg: ProbeArg) -> list[str]:
    if arg.location is None:
        return _wrapped(f"  {name}", f"- {arg.note}")
    words = [f"{arg.location:<{_LOCATION}}{arg.type}"]
    words += [f"+ {arg.addend}"] if arg.addend else []
    words += ["at entry"] if arg.at_entry else []
    lines = [f"{'  ' + name:<{_NAME + 2}}{' '.join(words)}"]
    return lines + (_wrapped("", arg.note) if arg.note else [])


def _gap(gap: MissingEvent) -> list[str]:
    return _wrapped(f"  {gap.event}", gap.why)


def _wrapped(head: str, text: str) -> list[str]:
    indent = " " * (_NAME + 2)
    wrapped = textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
    return [f"{head:<{_NAME + 2}}{wrapped[0].lstrip()}", *wrapped[1:]]
