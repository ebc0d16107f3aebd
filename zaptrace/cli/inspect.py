"""`zaptrace inspect`: audit a crash dump."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

from zaptrace.model.errors import BadInput, Exit
from zaptrace.model.findings import AuditResult, Finding, FindingClass, Owner

if TYPE_CHECKING:
    from zaptrace.memory.registers import CpuRegisters

HELP = "audit a vmcore: page tables against every page's counters"

EPILOG = """\
examples:
  zaptrace inspect vmcore --vmlinux vmlinux
  zaptrace inspect vmcore --vmlinux vmlinux --json | jq '.findings[].pfn'

Findings come worst class first.  in_flight is not a bug: a CPU was changing
that mm's page tables when the machine stopped.

exit status: 0 no finding, 1 findings, 2 input that cannot be used
"""

WIDTH = 80
SHOWN_PER_CLASS = 10
SHOWN_MAPPINGS = 4

MEANING = {
    FindingClass.MAPPED_BUT_FREE: "PTEs map a page that is free: others may get it.",
    FindingClass.DIRTY_FREE_PAGE: "A page on a free list still has references or mappings.",
    FindingClass.REFCOUNT_BELOW_MAPCOUNT: "More mappings than references: "
    "the page was freed, or is being freed, while it still counts as mapped.",
    FindingClass.MAPCOUNT_UNDERFLOW: "The rmap was removed more often than it was added.",
    FindingClass.MORE_PTES_THAN_MAPCOUNT: "PTEs that no mapcount stands for: "
    "the rmap was removed and the PTE stayed.",
    FindingClass.MORE_MAPCOUNT_THAN_PTES: "Mappings counted that no page table has: "
    "the PTE went and the rmap was not removed.",
    FindingClass.RSS_MISMATCH: "An mm's rss counters are not what its page tables map.",
    FindingClass.IN_FLIGHT: "Not a bug: a CPU was inside this mm's page tables.",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Walk every page table of every mm in a crash dump and list each page whose PTEs "
        "and counters disagree, with those who map it."
    )
    parser.epilog = EPILOG
    parser.add_argument("vmcore", type=Path, metavar="VMCORE", help="the crash dump")
    parser.add_argument(
        "--vmlinux", type=Path, required=True, help="vmlinux of the same build, with DWARF"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> Exit:
    """Run the command.

    Raises:
        BadInput, Missing: the dump or vmlinux cannot be used.
    """
    from zaptrace.audit import audit
    from zaptrace.cli.output import print_json
    from zaptrace.memory.opening import open_vmcore

    prog = open_vmcore(args.vmcore, args.vmlinux)
    result = audit(prog, cpus=_registers(args.vmcore))
    if args.json:
        print_json(result.to_json())
    else:
        print("\n".join(lines(result)))
    bugs = [finding for finding in result.findings if finding.cls is not FindingClass.IN_FLIGHT]
    return Exit.BUG_FOUND if bugs else Exit.OK


def _registers(vmcore: Path) -> list[CpuRegisters] | None:
    """What the CPUs were doing, where the dump says so: not in makedumpfile's formats."""
    from zaptrace.memory.registers import cpu_registers

    try:
        return cpu_registers(vmcore)
    except BadInput:
        return None


def lines(result: AuditResult) -> Iterator[str]:
    """The result for a person, at most 80 columns.  Findings must be in order of class."""
    yield from _wrapped(
        f"{result.kernel_release}: {result.pages:,} pages, {result.mms:,} mms, "
        f"{result.ptes:,} PTEs ({result.seconds:.2f} s)",
        "",
        "  ",
    )
    for cls, group in groupby(result.findings, lambda finding: finding.cls):
        findings = list(group)
        yield ""
        yield f"{cls.value}: {len(findings):,}"
        yield from _wrapped(MEANING[cls], "  ", "  ")
        for finding in findings[:SHOWN_PER_CLASS]:
            yield ""
            yield from _finding_lines(finding)
        if len(findings) > SHOWN_PER_CLASS:
            yield ""
            yield f"  and {len(findings) - SHOWN_PER_CLASS:,} more: --json has them all"
    if not result.findings:
        yield "no finding: every page table and every counter agree"
    if result.unseen:
        yield ""
        yield "not seen:"
    for gap in result.unseen:
        yield from _wrapped(f"{gap.count:,} {gap.what}", "  ", "    ")


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield from _wrapped(_headline(finding), "  ", "    ")
    if finding.flags:
        yield from _labelled("flags", "|".join(finding.flags))
    for owner in islice(finding.mappings, SHOWN_MAPPINGS):
        yield from _labelled("mapping", _owner_text(owner))
    if len(finding.mappings) > SHOWN_MAPPINGS:
        yield from _labelled("", f"and {len(finding.mappings) - SHOWN_MAPPINGS} more")
    if finding.note:
        yield from _labelled("note", finding.note)


def _headline(finding: Finding) -> str:
    if finding.pfn is None:
        return f"{_number(finding.ptes)} pages mapped"
    folio = finding.folio or {}
    order = f", folio of order {folio['order']}" if folio.get("order") else ""
    return (
        f"pfn {finding.pfn:#x}: {_number(finding.ptes)} PTEs, mapcount "
        f"{_number(finding.mapcount)}, refcount {_number(finding.refcount)}{order}"
    )


def _owner_text(owner: Owner) -> str:
    who = "no task" if owner.pid is None else f"{owner.comm} ({owner.pid})"
    where = "" if owner.address is None else f" at {owner.address:#x}"
    area = f" in {owner.vma}" if owner.vma else ""
    return f"{who}{where}{area}"


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _labelled(label: str, text: str) -> list[str]:
    return _wrapped(text, f"    {label:8}", " " * 12)


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=rest)
