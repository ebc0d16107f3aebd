"""`zaptrace inspect`: audit a crash dump, or show one page, process or address of it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zaptrace.model.errors import BadInput, Exit
from zaptrace.model.findings import AuditResult, Finding, FindingClass, Unseen
from zaptrace.model.paths import scratch_folder
from zaptrace.model.splats import Splat

if TYPE_CHECKING:
    import drgn

    from zaptrace.audit.audited import Audited
    from zaptrace.audit.inspect import AddressView, Inspector, PageView, ProcessView

    _Views = tuple[
        str, Sequence[PageView | AddressView | ProcessView], Iterator[str], Sequence[Finding]
    ]

_REPORTS = 10
"""Reports of a kind that are shown."""

EPILOG = """\
examples:
  zaptrace inspect vmcore --vmlinux vmlinux
  zaptrace inspect vmcore --vmlinux vmlinux --json | jq '.findings[].pfn'
  zaptrace inspect vmcore --vmlinux vmlinux --pfn 0x5da
  zaptrace inspect vmcore --vmlinux vmlinux --pid 28 --address 0x3ffffffb000
  zaptrace inspect --qmp /run/guest.qmp --vmlinux vmlinux
  sudo zaptrace inspect --live --vmlinux /usr/lib/debug/boot/vmlinux-$(uname -r)

Findings come worst class first; those that differ in their page only are shown
together.  in_flight is not a bug: a CPU was changing that mm's page tables
when the machine stopped.  After them stands what the kernel had reported
itself, out of the log in the dump (`splats` in the JSON document).

In drgn already?  The same audit as a script for it:
  drgn -c VMCORE -s VMLINUX {script}

exit status: 0 no finding, 1 findings, 2 input that cannot be used
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.description = (
        "Walk every page table of every mm in a crash dump and list each page whose PTEs "
        "and counters disagree, with the processes that map it."
    )
    parser.epilog = EPILOG.format(script=Path(__file__).with_name("drgn_audit.py"))
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("vmcore", type=Path, nargs="?", metavar="VMCORE", help="the crash dump")
    source.add_argument(
        "--qmp",
        type=Path,
        metavar="SOCKET",
        help="a running QEMU guest instead, by its QMP unix socket; paused while it is dumped",
    )
    source.add_argument(
        "--live",
        action="store_true",
        help="the running kernel instead (/proc/kcore, root): it changes while it is read, so a "
        "finding counts only if each of several audits has it",
    )
    parser.add_argument(
        "--vmlinux", type=Path, required=True, help="vmlinux of the same build, with DWARF"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--shell",
        action="store_true",
        help="drgn's prompt with the opened kernel and the helpers of zaptrace",
    )
    one = parser.add_argument_group("one object instead of an audit")
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
        help="a user address (of --pid, or of every task that maps it), from the top page table to "
        "the page; or a struct page's address",
    )


def run(args: argparse.Namespace) -> Exit:
    """Run the command.

    Raises:
        BadInput, Missing: the dump or vmlinux cannot be used.
    """
    from zaptrace.audit import audit
    from zaptrace.memory.open import cut_off, open_program
    from zaptrace.memory.registers import known_registers

    if args.pfn is not None and (args.pid is not None or args.address is not None):
        raise BadInput("--pfn goes with neither --pid nor --address")
    if args.live:
        return _live(args)
    with _vmcore(args) as vmcore:
        prog, cut = open_program(vmcore, args.vmlinux, whole=False), cut_off(vmcore)
        cpus = known_registers(vmcore)
        try:
            if args.shell or _one_thing(args):
                return _look(audit(prog, cpus=cpus), args)
            result = _noting_cut(audit(prog, cpus=cpus).result(), cut)
            return _print_result(result, args, _reports(prog))
        except BadInput as error:
            if cut and error.hint is None:
                error.hint = f"the dump is cut short by {cut:,} bytes: dump or copy it again"
            raise


def _live(args: argparse.Namespace) -> Exit:
    from zaptrace.audit import audit_running
    from zaptrace.memory.open import open_live

    prog = open_live(args.vmlinux)
    found = audit_running(prog)
    if args.shell or _one_thing(args):
        return _look(found, args)
    return _print_result(found.result(), args)


def _one_thing(args: argparse.Namespace) -> bool:
    return any(one is not None for one in (args.pfn, args.pid, args.address))


@contextlib.contextmanager
def _vmcore(args: argparse.Namespace) -> Iterator[Path]:
    """Give the dump; of a running guest one that lives as long as the block."""
    if args.vmcore is not None:
        yield args.vmcore
        return
    from zaptrace.runs.write_vmcore import write_vmcore

    with scratch_folder() as folder:
        vmcore = folder / "vmcore"
        write_vmcore(args.qmp, vmcore)
        yield vmcore


def _noting_cut(result: AuditResult, cut: int) -> AuditResult:
    if not cut:
        return result
    cut_off = Unseen("bytes of memory cut off the end of the dump", cut)
    return dataclasses.replace(result, unseen=(cut_off, *result.unseen))


def _reports(prog: drgn.Program) -> list[Splat]:
    """Return the reports in the dump's own kernel log."""
    from zaptrace.memory.kernel_log import kernel_log
    from zaptrace.splat import parse_console

    return parse_console("\n".join(kernel_log(prog)).encode())


def _print_result(
    result: AuditResult, args: argparse.Namespace, reports: Sequence[Splat] = ()
) -> Exit:
    from zaptrace.cli.output import print_json
    from zaptrace.report.audit_text import lines
    from zaptrace.report.splats import describe

    if args.json:
        print_json({**result.to_json(), "splats": [splat.to_json() for splat in reports]})
    else:
        print("\n".join(lines(result)))
        if reports:
            print("\nIn the dump's own kernel log: " + describe(reports, limit=_REPORTS), end="")
    return _exit(result.findings)


def _shell(inspector: Inspector) -> Exit:
    from zaptrace.audit.drgn_prompt import interact
    from zaptrace.cli import inspect_text

    def page(pfn: int) -> PageView:
        """page(pfn): print a page and return it."""
        view = inspector.page(pfn)
        print("\n".join(inspect_text.page_lines(view)))
        return view

    def address(at: int, pid: int | None = None) -> list[AddressView]:
        """address(at, pid=None): print the way from the page tables to a page."""
        views = inspector.address(at, pid)
        print("\n".join(_joined(map(inspect_text.address_lines, views))))
        return views

    def process(pid: int) -> list[ProcessView]:
        """process(pid): print a process's counters, VMAs and findings."""
        views = inspector.process(pid)
        print("\n".join(_joined(map(inspect_text.process_lines, views))))
        return views

    interact(inspector.state.prog, {"page": page, "address": address, "process": process})
    return Exit.OK


def _look(found: Audited, args: argparse.Namespace) -> Exit:
    from zaptrace.cli.output import print_json

    inspector = found.inspect()
    if args.shell:
        return _shell(inspector)
    key, views, text, findings = _views(inspector, args)
    if args.json:
        said = [view.to_json() for view in views]
        print_json({"kernel_release": inspector.state.release, key: said})
    else:
        print("\n".join(text))
    return _exit(findings)


def _views(inspector: Inspector, args: argparse.Namespace) -> _Views:
    """Return what was requested: JSON's key and objects, text, and the findings about it."""
    from zaptrace.cli import inspect_text

    if args.pfn is not None:
        return _pages([inspector.page(args.pfn)])
    if args.address is None:
        processes = inspector.process(args.pid)
        found = [finding for view in processes for finding in view.findings]
        return "processes", processes, _joined(map(inspect_text.process_lines, processes)), found
    page = inspector.page_at(args.address) if args.pid is None else None
    if page is not None:
        return _pages([page])
    addresses = inspector.address(args.address, args.pid)
    about = [view.page.finding for view in addresses if view.page and view.page.finding]
    return "addresses", addresses, _joined(map(inspect_text.address_lines, addresses)), about


def _pages(pages: Sequence[PageView]) -> _Views:
    from zaptrace.cli import inspect_text

    found = [view.finding for view in pages if view.finding]
    return "pages", pages, _joined(map(inspect_text.page_lines, pages)), found


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
