"""Damaged and hostile files give a plan or BadInput: no other exception, no endless loop."""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.kernel.conftest import Mimic
from zaptrace.elf.compressed import Damaged, decompress
from zaptrace.elf.image import Image
from zaptrace.kernel import build_id
from zaptrace.kernel.dwarf.aranges import AddressRanges
from zaptrace.kernel.dwarf.info import DebugInfo
from zaptrace.kernel.plan import make_plan
from zaptrace.model.errors import BadInput
from zaptrace.model.plan import ProbePlan

SLOWEST_MS = 60_000
"""A plan of the mimic takes some 60 ms; an endless loop takes for ever."""

HOSTILE = settings(
    max_examples=40,
    deadline=SLOWEST_MS,
    # The file is written anew by every example.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def plan_or_complaint(path: Path) -> ProbePlan | str:
    try:
        return make_plan(path)
    except BadInput as error:
        assert "\n" not in str(error)
        return str(error)


def section_ranges(path: Path, *prefixes: str) -> list[tuple[int, int]]:
    with Image(path) as image:
        return [
            (section.offset, section.offset + section.size)
            for name, section in image.sections.items()
            if name.startswith(prefixes)
        ]


@HOSTILE
@given(data=st.data())
def test_truncated_anywhere(bare: Mimic, tmp_path: Path, data: st.DataObject) -> None:
    whole = bare.path.read_bytes()
    damaged = tmp_path / "damaged"
    damaged.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    # The section headers are at the end, so nothing is left to plan with.
    assert "damaged" in str(plan_or_complaint(damaged))


@HOSTILE
@given(data=st.data())
def test_flipped_bits_in_headers_and_debug_info(
    bare: Mimic, tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(bare.path.read_bytes())
    damaged = tmp_path / "damaged"
    spans = [(0, 64), (len(content) - 64 * 30, len(content))]
    spans += section_ranges(bare.path, ".debug_", ".symtab", ".strtab", ".eh_frame", ".note")
    for _ in range(data.draw(st.integers(1, 8))):
        start, end = data.draw(st.sampled_from(spans))
        content[data.draw(st.integers(start, end - 1))] ^= 1 << data.draw(st.integers(0, 7))
    damaged.write_bytes(content)
    plan_or_complaint(damaged)


@HOSTILE
@given(data=st.data())
def test_stretches_of_nonsense(bare: Mimic, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(bare.path.read_bytes())
    damaged = tmp_path / "damaged"
    start, end = data.draw(st.sampled_from(section_ranges(bare.path, ".debug_", ".symtab")))
    nonsense = data.draw(st.binary(min_size=1, max_size=64))
    at = data.draw(st.integers(start, max(start, end - len(nonsense))))
    content[at : at + len(nonsense)] = nonsense
    damaged.write_bytes(content)
    plan_or_complaint(damaged)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n" * 20, bytes(4096)])
def test_not_elf(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "vmlinux"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="is not an ELF file") as caught:
        make_plan(path)
    assert "vmlinux with debug info" in str(caught.value.hint)


def test_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read .*: No such file"):
        build_id(tmp_path / "vmlinux")


def patched(mimic: Mimic, folder: Path, offset: int, field: bytes) -> Path:
    content = bytearray(mimic.path.read_bytes())
    content[offset : offset + len(field)] = field
    path = folder / "vmlinux"
    path.write_bytes(content)
    return path


def test_another_machine(bare: Mimic, tmp_path: Path) -> None:
    order = ">" if bare.addr2line.startswith("s390x") else "<"
    aarch64 = patched(bare, tmp_path, 18, struct.pack(f"{order}H", 183))
    with pytest.raises(
        BadInput, match=r"ELF machine 183 \(64 bits, .*zaptrace knows s390x and x86_64"
    ):
        make_plan(aarch64)


def test_an_object_file(bare: Mimic) -> None:
    with pytest.raises(BadInput, match="not linked yet"):
        make_plan(bare.path.with_name("mimic.o"))


@pytest.mark.parametrize(
    ("option", "lacks"), [("--strip-debug", "no debug info"), ("--strip-all", "no symbol table")]
)
def test_stripped(bare: Mimic, tmp_path: Path, option: str, lacks: str) -> None:
    strip = shutil.which(bare.addr2line.replace("addr2line", "strip"))
    if strip is None:
        pytest.skip("strip is not installed")
    stripped = tmp_path / "vmlinux"
    subprocess.run([strip, option, "-o", stripped, bare.path], check=True)
    with pytest.raises(BadInput, match=lacks) as caught:
        make_plan(stripped)
    assert caught.value.hint


def test_a_section_that_says_it_unpacks_to_more_than_can_be(tmp_path: Path, bare: Mimic) -> None:
    with Image(bare.path) as image:
        bomb = struct.pack(f"{image.order}I4xQQ", 1, 1 << 40, 1) + zlib.compress(bytes(1000))
        with pytest.raises(BadInput, match="which cannot be"):
            image._decompress(".debug_info", bomb)
        other = struct.pack(f"{image.order}I4xQQ", 3, 100, 1)
        with pytest.raises(BadInput, match="neither zlib nor zstd") as caught:
            image._decompress(".debug_info", other)
        with pytest.raises(BadInput, match="disagree about its size"):
            image._decompress(".debug_info", struct.pack(f"{image.order}I4xQQ", 2, 100, 1))
        with pytest.raises(BadInput, match="which cannot be"):
            image._decompress(".debug_info", struct.pack(f"{image.order}I4xQQ", 2, 1 << 40, 1))
    assert "objcopy --decompress-debug-sections" in str(caught.value.hint)


@given(st.sampled_from([1, 2]), st.integers(0, 2**34), st.binary(max_size=300))
def test_compressed_sections_of_any_bytes(kind: int, size: int, content: bytes) -> None:
    raw = struct.pack("<I4xQQ", kind, size, 1) + content
    with contextlib.suppress(Damaged):
        assert len(decompress(raw, "<")) <= size + 1


@given(st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_address_ranges_of_any_bytes(section: bytes, address: int) -> None:
    found = AddressRanges(section, ">").unit_at(address)
    assert found is None or 0 <= found < 2**32


def test_address_ranges() -> None:
    head = struct.pack("<IHIBB4x", 12 + 3 * 16, 2, 0x1234, 8, 0)
    pairs = struct.pack("<6Q", 0x1000, 0x10, 2**64 - 16, 16, 0, 0)
    ranges = AddressRanges(head + pairs, "<")
    found = [ranges.unit_at(at) for at in (0xFFF, 0x1000, 0x100F, 0x1010, 2**64 - 1, 0)]
    assert found == [None, 0x1234, 0x1234, None, 0x1234, None]


def test_siblings_that_point_back_are_refused(bare: Mimic) -> None:
    """A sibling reference to itself would make a walk endless."""
    from elftools.common.exceptions import DWARFError

    from zaptrace.kernel.dwarf.dies import children

    with Image(bare.path) as image:
        info = DebugInfo(image)
        cu = next(iter(info.dwarf.iter_CUs()))
        top = cu.get_top_DIE()
        with_sibling = next(
            die for die, _ in children(top) if "DW_AT_sibling" in die.attributes and die.offset
        )
        sibling = with_sibling.attributes["DW_AT_sibling"]
        back = sibling._replace(value=with_sibling.offset - cu.cu_offset)
        with_sibling.attributes["DW_AT_sibling"] = back
        with pytest.raises(DWARFError, match="lies before it"):
            list(children(top))
