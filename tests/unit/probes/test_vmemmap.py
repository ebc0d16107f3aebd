"""struct page addresses to PFNs, with a /proc/kcore and a /proc/iomem made here."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from probes.vmemmap import Vmemmap, find_vmemmap, read_word
from zaptrace.kernel.kallsyms import Kallsyms
from zaptrace.model.errors import BadInput
from zaptrace.model.events import ABSENT

VARIABLES = 0xFFFFFFFF82000000
SYMBOLS = Kallsyms(
    b"ffffffff82000000 D jiffies\nffffffff82000010 D vmemmap_base\nffffffff82000018 D vmemmap\n"
)
BASE = 0xFFFFEA0012000000
ORDER = 1 if sys.byteorder == "little" else 2  # EI_DATA


@pytest.fixture
def kcore(tmp_path: Path) -> Path:
    header = struct.pack(
        "=4s2B10xHHIQQQIHHHHHH",
        b"\x7fELF",
        2,
        ORDER,
        *(4, 62, 1, 0, 64, 0),
        *(0, 64, 56, 2, 0, 0, 0),
    )
    note = struct.pack("=IIQQQQQQ", 4, 0, 0, 0, 0, 0, 0, 0)
    load = struct.pack("=IIQQQQQQ", 1, 7, 256, VARIABLES, 0, 32, 32, 4096)
    content = struct.pack("=QQQQ", 1, 2, BASE, BASE + 64)
    path = tmp_path / "kcore"
    path.write_bytes((header + note + load).ljust(256, b"\0") + content)
    return path


@pytest.fixture
def iomem(tmp_path: Path) -> Path:
    path = tmp_path / "iomem"
    path.write_text(
        "00001000-0009ffff : System RAM\n000f0000-000fffff : System ROM\n"
        "00100000-1fffffff : System RAM\n  01000000-01ffffff : Kernel code\n"
    )
    return path


def test_the_base_is_the_variables_value(kcore: Path, iomem: Path) -> None:
    assert find_vmemmap(SYMBOLS, "x86_64", 64, kcore, iomem) == Vmemmap(BASE, 64, 0x20000)
    assert find_vmemmap(SYMBOLS, "s390x", 64, kcore, iomem) == Vmemmap(BASE + 64, 64, 0x20000)


def test_x86_without_the_variable_has_a_constant(kcore: Path, iomem: Path) -> None:
    symbols = Kallsyms(b"ffffffff82000000 D jiffies\n")
    found = find_vmemmap(symbols, "x86_64", 64, kcore, iomem)
    assert found == Vmemmap(0xFFFFEA0000000000, 64, 0x20000)
    assert find_vmemmap(symbols, "s390x", 64, kcore, iomem) is None


def test_without_the_variables_name_kcore_lists_the_array(tmp_path: Path, iomem: Path) -> None:
    """s390x 6.1 as Debian has it: no KALLSYMS_ALL."""
    kcore = tmp_path / "kcore"
    functions = Kallsyms(b"0000000000100000 T unmap_page_range\n")
    listed = [(0x100000, 0x1FF00000), (BASE, 0x3000), (BASE + 0x4000, 0x7FC000), (BASE, 0x1000000)]
    kcore.write_bytes(listing(listed))
    assert find_vmemmap(functions, "s390x", 64, kcore, iomem) == Vmemmap(BASE, 64, 0x20000)
    kcore.write_bytes(listing([*listed, (BASE + 0x40000000, 0x7FC000)]))  # two that may be it
    assert find_vmemmap(functions, "s390x", 64, kcore, iomem) is None


def listing(spans: list[tuple[int, int]]) -> bytes:
    header = struct.pack(
        *("=4s2B10xHHIQQQIHHHHHH", b"\x7fELF", 2, ORDER),
        *(4, 22, 1, 0, 64, 0, 0, 64, 56, len(spans), 0, 0, 0),
    )
    return header + b"".join(
        struct.pack("=IIQQQQQQ", 1, 7, 4096, start, 2**64 - 1, size, size, 4096)
        for start, size in spans
    )


def test_what_is_not_known_is_not_guessed(kcore: Path, iomem: Path, tmp_path: Path) -> None:
    flat = Kallsyms(b"ffffffff82000000 D jiffies\nffffffff82000008 D mem_map\n")
    assert find_vmemmap(flat, "x86_64", 64, kcore, iomem) is None
    assert find_vmemmap(Kallsyms(b""), "x86_64", 64, kcore, iomem) is None
    with pytest.raises(BadInput, match="does not know the architecture 'riscv'"):
        find_vmemmap(SYMBOLS, "riscv", 64, kcore, iomem)
    assert find_vmemmap(SYMBOLS, "x86_64", 64, tmp_path / "none", iomem) is None
    assert find_vmemmap(SYMBOLS, "x86_64", 64, kcore, tmp_path / "none") is None


def test_an_invalid_kcore(tmp_path: Path, kcore: Path) -> None:
    assert read_word(kcore, VARIABLES + 32) is None
    for content in (b"", b"\x7fELF\x02", b"\x7fELF\x02".ljust(64, b"\xff"), b"x" * 100):
        path = tmp_path / "bad"
        path.write_bytes(content)
        assert read_word(path, VARIABLES) is None


def test_only_struct_pages_have_a_pfn() -> None:
    pages = [BASE, BASE + 5 * 64, BASE + 32, BASE - 64, BASE + 0x20000 * 64, ABSENT, 0]
    pfns = Vmemmap(BASE, 64, 0x20000).pfns(np.array(pages, np.uint64))
    assert pfns.tolist() == [0, 5, ABSENT, ABSENT, ABSENT, ABSENT, ABSENT]
