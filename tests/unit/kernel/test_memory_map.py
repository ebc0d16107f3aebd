"""Where a kernel has its struct pages, out of a vmlinux that gcc made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.kernel.small_vmlinux import SOURCE, small_vmlinux
from zaptrace.kernel.memory_map import Variable, memory_map
from zaptrace.model.errors import BadInput

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def test_s390x_names_its_variables_and_the_code_of_its_image(tmp_path: Path) -> None:
    found = memory_map(small_vmlinux(tmp_path), "s390x")
    assert found.start == 0x140000
    assert [start for start, _ in found.texts] == [0x100000, 0x140000]
    assert all(end > start for start, end in found.texts)
    assert found.stack_shift == 16
    places = [found.base.address, found.size.address]
    assert all(place is not None and 0x150000 <= place < 0x160000 for place in places)
    assert found.direct.address is not None  # vm_layout.identity_base


def test_before_the_kernel_had_a_layout_its_direct_map_is_at_0(tmp_path: Path) -> None:
    source = SOURCE.replace(", vm_layout[3] = {1, 2, 3}", "")
    found = memory_map(small_vmlinux(tmp_path, source, stack=5000), "s390x")
    assert found.direct == Variable(None, 0)
    assert found.stack_shift == 14


def test_x86_64_has_constants_where_it_has_no_variables(tmp_path: Path) -> None:
    found = memory_map(small_vmlinux(tmp_path), "x86_64")
    assert found.base == Variable(None, 0xFFFFEA0000000000)
    assert found.direct == Variable(None, 0xFFFF888000000000)
    assert found.texts == ((0xFFFFFFFF80000000, 0xFFFFFFFFFF000000),)
    source = SOURCE.replace("long vmemmap = 1", "long vmemmap_base = 1, page_offset_base = 2")
    found = memory_map(small_vmlinux(tmp_path, source), "x86_64")
    assert found.base.address and found.direct.address


def test_what_has_no_struct_pages_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no vmemmap in it"):
        memory_map(small_vmlinux(tmp_path, SOURCE.replace("vmemmap", "other_map")), "s390x")
    with pytest.raises(BadInput, match="arm64"):
        memory_map(tmp_path / "vmlinux", "arm64")
