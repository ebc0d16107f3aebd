"""Whether a kernel looks at pages when they are freed and allocated: else it reports no bad page.

Up to v6.2 every kernel does (without CONFIG_DEBUG_VM when a CPU's list of free pages is drained or
refilled).  Since "mm, page_alloc: reduce page alloc/free sanity checks" (700d2e9a36b9, in v6.3) the
static key check_pages_enabled says so: it is on with CONFIG_DEBUG_VM, and where the boot turned on
debug_pagealloc, page_poison, init_on_alloc or init_on_free.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path

from zaptrace.kernel.kallsyms import functions_named

KEY = "check_pages_enabled"
OLD = ("free_pcp_prepare", "bulkfree_pcp_prepare", "check_pcp_refill")
"""Functions that only kernels without the key have."""
OFF = (
    "This kernel looks at no page when it is freed or allocated (check_pages_enabled is off): it "
    "reports no bad page."
)
FIX = "boot it with page_poison=1 or init_on_free=1 (both cost time), or CONFIG_DEBUG_VM=y"

_BUILT_IN = re.compile(
    r"^CONFIG_(?:DEBUG_VM|INIT_ON_ALLOC_DEFAULT_ON|INIT_ON_FREE_DEFAULT_ON"
    r"|DEBUG_PAGEALLOC_ENABLE_DEFAULT)=y$",
    re.MULTILINE,
)
_ASKED = re.compile(
    r"(?:^| )(?:(?:page_poison|init_on_alloc|init_on_free)=(?:1|y|Y|on)|debug_pagealloc=on)(?= |$)"
)
_REFUSED = re.compile(r"(?:^| )(init_on_alloc|init_on_free|debug_pagealloc)=(?:0|n|N|off)(?= |$)")
_OPTION = {
    "init_on_alloc": "CONFIG_INIT_ON_ALLOC_DEFAULT_ON=y",
    "init_on_free": "CONFIG_INIT_ON_FREE_DEFAULT_ON=y",
    "debug_pagealloc": "CONFIG_DEBUG_PAGEALLOC_ENABLE_DEFAULT=y",
}


@dataclass(frozen=True, slots=True)
class PageChecks:
    """What a running kernel says.

    Attributes:
        on: None when it is not known.
        says: why, for a person.
    """

    on: bool | None
    says: str


def running(symbols: bytes, root: Path = Path("/")) -> PageChecks:
    """Ask the running kernel: its symbols, its command line and its configuration.

    Args:
        symbols: the content of its /proc/kallsyms.
        root: where proc and boot are; `/` but for tests.
    """
    if any(functions_named(symbols, OLD)):
        return PageChecks(on=True, says="as every kernel up to 6.2 does")
    asked = _read(root / "proc/cmdline").strip()
    if found := _ASKED.search(asked):
        return PageChecks(on=True, says=f"{found[0].strip()} on the command line")
    config = _config(root)
    refused = {_OPTION[name] for name in _REFUSED.findall(asked)}
    built_in = [one for one in _BUILT_IN.findall(config) if one not in refused]
    if built_in:
        return PageChecks(on=True, says=built_in[0])
    if f" {KEY}\n".encode() not in symbols or not config:
        # Without CONFIG_KALLSYMS_ALL no kernel names the key.
        return PageChecks(on=None, says="not known: its symbols or its configuration do not say")
    return PageChecks(on=False, says=OFF)


def _config(root: Path) -> str:
    """Return the configuration by the kernel or its package; empty when neither has it."""
    try:
        return gzip.decompress((root / "proc/config.gz").read_bytes()).decode(errors="replace")
    except (OSError, EOFError):
        release = _read(root / "proc/sys/kernel/osrelease").strip()
        return _read(root / f"boot/config-{release}") if release else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
