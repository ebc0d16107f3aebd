"""`zaptrace inspect`: audit a crash dump, or look at one thing in it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zaptrace.model.errors import BadInput, Exit
from zaptrace.model.findings import Finding, FindingClass

if TYPE_CHECKING:
    import drgn

    from zaptrace.audit.look import AddressView, Looking, PageView, ProcessView
    from zaptrace.memory.registers import CpuRegisters

    _Views = tuple[
        str, Sequence[PageView | AddressView | ProcessView], Iterator[str], Sequence[Finding]
    ]

HELP = "audit a vmcore: page tables against every page's counters"

EPILOG = """\
examples:
  zaptrace inspect vmcore --vmlinux vmlinux
  zaptrace inspect vmcore --vmlinux vmlinux --json | jq '.findings[].pfn'
  zaptrace inspect vmcore --vmlinux vmlinux --pfn 0x5da
  zaptrace inspect vmcore --vmlinux vmlinux --pid 28 --address 0x3ffffffb000

Findings come worst class first; those that differ in their page only are shown
together.  in_flight is not a bug: a CPU was changing that mm's page tables
when the machine stopped.

exit status: 0 no finding, 1 findings, 2 input that cannot be used
"""


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
    one = parser.add_argument_group("look at one thing instead")
    one.add_argument(
        "--pfn", type=_integer, metavar="N", help="a page: counters, folio, owners, neighbours"
    )
    one.add_argument(
        "--pid", type=_integer, metavar="P", help="a process: rss counters, VMAs, findings"
    )
    one.add_argument(
        "--address",
        type=_integer,
        metavar="A",
        help="a user address (of --pid, or of whoever maps it), from the top page table to the "
        "page; or a struct page's address",
    )


def run(args: argparse.Namespace) -> Exit:
    """Run the command.

    Raises:
        BadInput, Missing: the dump or vmlinux cannot be used.
    """
    from zaptrace.audit import audit
    from zaptrace.cli.audittext import lines
    from zaptrace.cli.output import print_json
    from zaptrace.memory.opening import open_vmcore

    if args.pfn is not None and (args.pid is not None or args.address is not None):
        raise BadInput("--pfn goes with neither --pid nor --address")
    prog = open_vmcore(args.vmcore, args.vmlinux)
    if not args.pfn is args.pid is args.address is None:
        return _look(prog, args)
    result = audit(prog, cpus=_registers(args.vmcore))
    if args.json:
        print_json(result.to_json())
    else:
        print("\n".join(lines(result)))
    return _exit(result.findings)


def _look(prog: drgn.Program, args: argparse.Namespace) -> Exit:
    from zaptrace.audit.look import Looking
    from zaptrace.cli.output import print_json

    looking = Looking(prog, _registers(args.vmcore))
    key, views, text, findings = _views(looking, args)
    if args.json:
        said = [view.to_json() for view in views]
        print_json({"kernel_release": looking.ledger.release, key: said})
    else:
        print("\n".join(text))
    return _exit(findings)


def _views(looking: Looking, args: argparse.Namespace) -> _Views:
    """What was asked for, as JSON's key and objects, as text, and the findings about it."""
    from zaptrace.cli import looktext

    if args.pfn is not None:
        return _pages([looking.page(args.pfn)])
    if args.address is None:
        processes = looking.process(args.pid)
        found = [finding for view in processes for finding in view.findings]
        return "processes", processes, _joined(map(looktext.process_lines, processes)), found
    page = looking.page_at(args.address) if args.pid is None else None
    if page is not None:
        return _pages([page])
    addresses = looking.address(args.address, args.pid)
    about = [view.page.finding for view in addresses if view.page and view.page.finding]
    return "addresses", addresses, _joined(map(looktext.address_lines, addresses)), about


def _pages(pages: Sequence[PageView]) -> _Views:
    from zaptrace.cli import looktext

    found = [view.finding for view in pages if view.finding]
    return "pages", pages, _joined(map(looktext.page_lines, pages)), found


def _joined(parts: Iterable[Iterator[str]]) -> Iterator[str]:
    for number, part in enumerate(parts):
        if number:
            yield ""
        yield from part


def _exit(findings: Iterable[Finding]) -> Exit:
    bugs = any(finding.cls is not FindingClass.IN_FLIGHT for finding in findings)
    return Exit.BUG_FOUND if bugs else Exit.OK


def _integer(text: str) -> int:
    return int(text, 0)


def _registers(vmcore: Path) -> list[CpuRegisters] | None:
    """What the CPUs were doing, where the dump says so: not in makedumpfile's formats."""
    from zaptrace.memory.registers import cpu_registers

    try:
        return cpu_registers(vmcore)
    except BadInput:
        return None
