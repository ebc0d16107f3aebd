"""The error when a dump and a vmlinux cannot be opened together."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from zaptrace.arch.s390x import S390X
from zaptrace.elf.core import ET_CORE, PT_LOAD, PT_NOTE, SEGMENT_SIZE, Segment, pack_segments
from zaptrace.elf.header import HEADER_SIZE
from zaptrace.elf.notes import Note, pack_note
from zaptrace.memory.open import open_program
from zaptrace.model.errors import BadInput, Missing, ZaptraceError

OURS, OTHER = bytes(range(20)), bytes(range(1, 21))
INFO = (
    "OSRELEASE=6.1.0-test\nBUILD-ID={}\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=589250\n"
    "OFFSET(uts_namespace.name)=0\nSYMBOL(swapper_pg_dir)=698000\nKERNELOFFSET=0\n"
)


def image(path: Path, kind: int, note: Note | None, size: int = 8192) -> Path:
    """A 64-bit big-endian ELF file of one page-aligned segment and perhaps a note."""
    raw = pack_note(note, ">") if note else b""
    at = HEADER_SIZE + 3 * SEGMENT_SIZE
    load = at + len(raw)
    segments = [
        Segment(PT_NOTE, 0, at, 0, 0, len(raw), len(raw), 4),
        Segment(PT_LOAD, 7, load, 0, 0, 4096, 4096, 0),
        Segment(PT_LOAD, 7, load + 4096, 4096, 4096, size - 4096, size - 4096, 0),
    ]
    ident = b"\x7fELF" + bytes([2, 2, 1]) + bytes(9)
    fields = (kind, S390X.elf_machine, 1, 0, HEADER_SIZE, 0, 0, 64, 56, len(segments), 0, 0, 0)
    header = struct.pack(">16sHHIQQQIHHHHHH", ident, *fields)
    path.write_bytes(header + pack_segments(segments, ">") + raw + bytes(size))
    return path


def vmcore(path: Path, build_id: bytes | None = OURS) -> Path:
    note = Note(b"VMCOREINFO", 0, INFO.format(build_id.hex()).encode()) if build_id else None
    return image(path, ET_CORE, note)


def vmlinux(path: Path, build_id: bytes | None = OURS) -> Path:
    """A linked s390x program without debug info, with the requested build ID."""
    compiler = shutil.which("s390x-linux-gnu-gcc")
    if compiler is None:
        pytest.skip("s390x-linux-gnu-gcc is not installed: make setup")
    wanted = f"0x{build_id.hex()}" if build_id else "none"
    argv = [compiler, "-nostdlib", "-static", f"-Wl,--build-id={wanted}", "-x", "c", "-"]
    source = b"void _start(void) {}"
    subprocess.run([*argv, "-o", str(path)], check=True, input=source)
    return path


def test_another_builds_vmlinux_is_refused_by_both_build_ids(tmp_path: Path) -> None:
    core = vmcore(tmp_path / "core")
    with pytest.raises(BadInput) as caught:
        open_program(core, vmlinux(tmp_path / "vmlinux", OTHER))
    assert OURS.hex() in str(caught.value)
    assert OTHER.hex() in str(caught.value)
    with pytest.raises(BadInput, match=f"None.*{OURS.hex()}"):
        open_program(core, vmlinux(tmp_path / "vmlinux", None))


def test_a_vmlinux_without_debug_info_is_refused(tmp_path: Path) -> None:
    core = vmcore(tmp_path / "core")
    with pytest.raises(BadInput, match=r"vmlinux.*debug info") as caught:
        open_program(core, vmlinux(tmp_path / "vmlinux"))
    assert "CONFIG_DEBUG_INFO" in str(caught.value.hint)


def test_a_core_without_vmcoreinfo_is_refused_with_the_way_out(tmp_path: Path) -> None:
    core = vmcore(tmp_path / "core", None)
    with pytest.raises(BadInput, match="no VMCOREINFO") as caught:
        open_program(core, vmlinux(tmp_path / "vmlinux"))
    assert "zaptrace vm dump" in str(caught.value.hint)


def test_a_truncated_core_is_refused(tmp_path: Path) -> None:
    core = vmcore(tmp_path / "core")
    size = core.stat().st_size
    for left in (size - 1, size - 5000, 300, 100):
        core.write_bytes(core.read_bytes()[:left])
        with pytest.raises(BadInput, match="truncated"):
            open_program(core, vmlinux(tmp_path / "vmlinux"))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x7fELF", b"KDUMP   " + bytes(5000)])
def test_what_is_no_vmcore_is_refused(tmp_path: Path, content: bytes) -> None:
    core = tmp_path / "core"
    core.write_bytes(content)
    with pytest.raises(BadInput, match=r"core: not a vmcore"):
        open_program(core, vmlinux(tmp_path / "vmlinux"))


def test_a_vmlinux_is_no_vmcore(tmp_path: Path) -> None:
    kernel = vmlinux(tmp_path / "vmlinux")
    with pytest.raises(BadInput, match="not a core dump"):
        open_program(kernel, kernel)


def test_missing_files_are_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="nowhere"):
        open_program(tmp_path / "nowhere", tmp_path / "vmlinux")
    with pytest.raises(ZaptraceError, match="nowhere"):
        open_program(vmcore(tmp_path / "core"), tmp_path / "nowhere")
