"""Makes the probe plan of a vmlinux from its symbols and DWARF."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from elftools.common.exceptions import DWARFError, ELFError
from elftools.construct.core import ConstructError

from zaptrace.elf.image import DEBUG_INFO_HINT, Image
from zaptrace.kernel import free_sites
from zaptrace.kernel.context import Context
from zaptrace.kernel.dwarf.place import Unavailable
from zaptrace.kernel.entry_sites import entry_sites
from zaptrace.kernel.targets import ENTRIES
from zaptrace.kernel.zap_sites import zap_sites
from zaptrace.model.errors import BadInput
from zaptrace.model.plan import ProbePlan

_DAMAGE = (
    # What parsers of damaged debug info stumble with: ours and pyelftools'.
    ELFError,
    DWARFError,
    ConstructError,
    struct.error,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RecursionError,
    MemoryError,
    NotImplementedError,
    EOFError,
    Unavailable,
)
_LONGEST_REASON = 200
_BANNER = re.compile(rb"Linux version (\S{1,64}) ")


def make_plan(vmlinux: Path) -> ProbePlan:
    """Return the probe plan of a kernel, from scratch.

    Raises:
        BadInput: not a vmlinux of an architecture that we know, no debug info,
            truncated or damaged.
    """
    with Image(vmlinux) as image:
        image.join()
        try:
            return _plan(image)
        except _DAMAGE as error:
            what = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
            raise BadInput(
                f"{vmlinux}: its debug info is damaged, or of a kind that we cannot read ({what})",
                hint=DEBUG_INFO_HINT,
            ) from error


def _plan(image: Image) -> ProbePlan:
    context = Context.open(image)
    zaps = zap_sites(context)
    sites, missing = zaps.all, list(zaps.missing)
    frees = free_sites.free_sites(context)
    if frees.sites:
        sites += frees.sites
        missing += frees.missing
    for target in ENTRIES:
        if frees.sites and target.event == free_sites.EVENT:
            continue
        more, gaps = entry_sites(context, target)
        sites += more
        missing += gaps
    return ProbePlan(
        build_id=image.build_id(),
        arch=image.arch.name,
        release=_release(context),
        sites=tuple(sites),
        missing=tuple(missing),
        offsets=context.offsets,
        # kernel/trace/trace_boot.c: there when CONFIG_BOOTTIME_TRACING is set.
        boot_tracing=bool(context.symbols.functions("trace_boot_init")),
        notes=tuple(zaps.notes),
        anchors=_anchors(context),
    )


def _anchors(context: Context) -> dict[str, int]:
    """Return the anchors that locate the kernel once it runs (see ProbePlan)."""
    found = {}
    for name in context.arch.vector_handlers:
        address = context.symbols.code(name)
        if address is not None:
            found["vector"] = address
            break
    banner = context.symbols.object("linux_banner")
    if banner is not None:
        found["banner"] = banner.address
    return found


def _release(context: Context) -> str | None:
    """Return `uname -r`, from linux_banner[] (init/version.c)."""
    banner = context.symbols.object("linux_banner")
    if banner is None:
        return None
    found = _BANNER.match(context.image.at(banner.address, banner.size))
    return found[1].decode("ascii", "replace") if found else None
