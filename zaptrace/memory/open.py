"""The one place that opens a kernel's memory, and says plainly why it cannot."""

from __future__ import annotations

import logging
import mmap
import re
from pathlib import Path

import drgn

from zaptrace.elf.core import Segment, opened, read_headers
from zaptrace.kernel import build_id
from zaptrace.memory import vmcore
from zaptrace.memory.left_out import note_left_out
from zaptrace.model import boot_ids
from zaptrace.model.errors import BadInput, Missing

# drgn's remarks go to its logger's listeners; what matters becomes our error.
logging.getLogger("drgn").addHandler(logging.NullHandler())

KCORE = Path("/proc/kcore")
_KDUMP_MAGICS = (b"KDUMP   ", b"DISKDUMP", b"makedumpfile")
# What libkdumpfile says of a dump that QEMU wrote without the guest's help.
_NO_VMCOREINFO = ("vmcoreinfo.raw is not set", "KDUMP_ATTR_ARCH_NAME")
_NO_DEBUG_INFO = (
    "use the vmlinux with DWARF: CONFIG_DEBUG_INFO_DWARF5=y, or the distribution's -dbg package"
)
_MOST_LOG = 16 << 20  # bytes of the kernel's log


def open_program(core: Path, vmlinux: Path, *, whole: bool = True) -> drgn.Program:
    """Open a crash dump with its kernel's debug info.

    Args:
        core: an ELF vmcore (a QEMU dump after `vmcore.standardise`) or a
            kdump-compressed one, of makedumpfile or QEMU.
        vmlinux: the same build's vmlinux, with DWARF.
        whole: refuse a dump that is cut short; else what is cut off is memory that
            cannot be read (see `cut_off`).

    Raises:
        BadInput: `core` is no vmcore, truncated or without VMCOREINFO;
            `vmlinux` is another build's or has no debug info.
        Missing: one of them does not exist or cannot be read.
    """
    loads = _check_core(core, whole)
    prog = drgn.Program()
    try:
        prog.set_core_dump(str(core))
    except Exception as error:  # drgn raises bare Exception for libelf's and libkdumpfile's
        if _is_kdump(core) and any(sign in str(error) for sign in _NO_VMCOREINFO):
            raise _without_vmcoreinfo(core) from error
        raise BadInput(f"{core}: not a vmcore that drgn can open: {error}") from error
    if not prog.flags & drgn.ProgramFlags.IS_LINUX_KERNEL:
        raise _without_vmcoreinfo(core)
    note_left_out(prog, loads)
    _load_debug_info(prog, core, vmlinux)
    return prog


def open_live(vmlinux: Path) -> drgn.Program:
    """Open the running kernel (/proc/kcore) with its debug info; it changes while it is read.

    Raises:
        BadInput: `vmlinux` is another build's or has no debug info.
        Missing: the kernel's memory cannot be read: not root, locked down, no /proc/kcore.
    """
    prog = drgn.Program()
    try:
        prog.set_kernel()
    except Exception as error:  # OSError, and drgn's bare Exception
        raise Missing(
            f"{KCORE}: cannot be read: {error}",
            hint="run as root, on a kernel with CONFIG_PROC_KCORE=y that is not locked down",
        ) from error
    _load_debug_info(prog, KCORE, vmlinux)
    return prog


def vmcoreinfo_of(prog: drgn.Program) -> dict[str, str]:
    """Return VMCOREINFO's `KEY=value` lines."""
    text = prog["VMCOREINFO"].string_().decode("ascii", "replace")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def kernel_offset(prog: drgn.Program) -> int:
    """Return how far above its link-time addresses the kernel runs (KASLR), modulo 2**64."""
    try:
        return int(vmcoreinfo_of(prog).get("KERNELOFFSET", "0"), 16)
    except ValueError:
        return 0


def boot_id(prog: drgn.Program) -> str | None:
    """Return the id on the kernel's command line (`zaptrace.model.boot_ids`); None when it was not
    ours.

    Of a guest that was restored, with the second one, which is in the kernel's log.
    """
    try:
        line = prog["saved_command_line"].string_()
    except (drgn.FaultError, LookupError, TypeError):
        return None
    booted = boot_ids.of_command_line(line.decode("ascii", "replace"))
    return booted and boot_ids.of_log([booted], _log(prog))[-1]


def _log(prog: drgn.Program) -> bytes:
    """Return the kernel's log buffer as it lies in memory; empty when it cannot be read."""
    try:
        size = min(int(prog["log_buf_len"]), _MOST_LOG)
        return bytes(prog.read(prog["log_buf"].value_(), size))
    except (drgn.FaultError, LookupError, TypeError):
        return b""


def cut_off(core: Path) -> int:
    """Return how many bytes of memory an ELF dump promises and does not have; 0 for other formats.

    Raises:
        BadInput, Missing: not even its headers can be read.
    """
    if _is_kdump(core):
        return 0
    with opened(core) as file:
        headers = read_headers(file, core)
    loads = headers.loads()
    ends = [min(max(headers.size - load.offset, 0), load.filesz) for load in loads]
    return sum(load.filesz for load in loads) - sum(ends)


def _check_core(core: Path, whole: bool) -> list[Segment]:
    """Return the segments that hold memory; none of another format, which libkdumpfile checks."""
    if _is_kdump(core):
        return []
    with opened(core) as file:
        try:
            headers = read_headers(file, core)
        except BadInput as error:
            raise BadInput(f"{core}: not a vmcore: {error}") from error
        vmcore.check_core(headers, whole)
        return headers.loads()


def _is_kdump(core: Path) -> bool:
    """Return whether it is kdump-compressed or flattened, as makedumpfile and QEMU write it."""
    with opened(core) as file:
        return file.read(16).startswith(_KDUMP_MAGICS)


def _without_vmcoreinfo(core: Path) -> BadInput:
    hint = "a raw QEMU dump becomes a proper vmcore with: zaptrace vm dump"
    if _is_kdump(core):
        hint = "dump it again, uncompressed, with: zaptrace vm dump"
    return BadInput(
        f"{core}: has no VMCOREINFO note, so it is unknown which kernel it belongs to", hint=hint
    )


def _load_debug_info(prog: drgn.Program, core: Path, vmlinux: Path) -> None:
    of_core = vmcoreinfo_of(prog)
    wanted = of_core.get("BUILD-ID")
    has = build_id(vmlinux)
    if wanted is not None and wanted != has:
        raise _other_build(vmlinux, core, f"build ID {has}", f"build ID {wanted}")
    # Only the vmlinux that was named: no search of the machine, no debuginfod.
    prog.set_enabled_debug_info_finders([])
    try:
        prog.load_debug_info([str(vmlinux)])
    except Exception as error:  # drgn raises bare Exception for libdw's complaints
        raise BadInput(f"{vmlinux}: debug info cannot be read: {error}") from error
    if not _has_debug_info(prog):
        raise BadInput(f"{vmlinux}: has no debug info", hint=_NO_DEBUG_INFO)
    if wanted is None:
        _check_banner(prog, core, vmlinux, of_core.get("OSRELEASE", "an unknown release"))


def _has_debug_info(prog: drgn.Program) -> bool:
    try:
        status = prog.main_module().debug_file_status
    except LookupError:  # drgn found nothing in vmlinux that it could use at all
        return False
    return bool(status == drgn.ModuleFileStatus.HAVE)


def _check_banner(prog: drgn.Program, core: Path, vmlinux: Path, release: str) -> None:
    """Compare linux_banner, which has the build's date: VMCOREINFO has BUILD-ID since 5.9."""
    banner = _banner_in(vmlinux)
    try:
        running = prog["linux_banner"].string_()
    except (KeyError, drgn.FaultError):
        running = b""
    if banner is None or not running.startswith(banner):
        named = banner.decode(errors="replace") if banner else "no Linux banner"
        raise _other_build(vmlinux, core, named, release)


def _banner_in(vmlinux: Path) -> bytes | None:
    with (
        vmlinux.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        found = re.search(rb"Linux version [0-9][^%\0\n]{1,400}", content)
        return found[0] if found else None


def _other_build(vmlinux: Path, core: Path, has: str, wanted: str) -> BadInput:
    return BadInput(
        f"{vmlinux} ({has}) is not the kernel of {core} ({wanted})",
        hint="give the vmlinux of the very build that ran",
    )
