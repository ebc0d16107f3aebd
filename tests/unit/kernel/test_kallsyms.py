"""Names for kernel addresses."""

from __future__ import annotations

from pathlib import Path
from string import hexdigits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zaptrace.kernel.kallsyms import Kallsyms, read

RAW = b"""\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000000 T first_function
ffffffff81000100 t helper
ffffffff81000180 t twice
ffffffff81000200 W weak
ffffffff81000280 t twice
ffffffff82000000 D jiffies
ffffffffc0000000 t of_a_module\t[zap]
"""


def test_names_are_those_of_functions_only() -> None:
    base = 0xFFFFFFFF81000000
    names = Kallsyms(RAW).names([base, base + 0x11C, base + 0x2FF, base + 0x1000000, 5, 2**64 - 1])
    assert names == {
        base: "_stext+0x0",
        base + 0x11C: "helper+0x1c",
        base + 0x2FF: "twice+0x7f",
    }


def test_the_return_address_of_a_call_that_does_not_return_is_its_callers() -> None:
    """do_group_exit() does not return: its call can be a function's last instruction."""
    symbols, start = Kallsyms(RAW), 0xFFFFFFFF81000180
    assert symbols.names([], [start]) == {start: "helper+0x80"}
    assert symbols.names([start], [start]) == {start: "twice+0x0"}
    assert symbols.names([], [start + 4, 0]) == {start + 4: "twice+0x4"}


def test_a_modules_function() -> None:
    assert Kallsyms(RAW).names([0xFFFFFFFFC0000004]) == {0xFFFFFFFFC0000004: "of_a_module+0x4"}


def test_addresses_of_symbols() -> None:
    symbols = Kallsyms(RAW)
    assert symbols.address("jiffies") == 0xFFFFFFFF82000000
    assert symbols.address("helper") == 0xFFFFFFFF81000100
    assert symbols.address("elper") is None
    assert symbols.address("twice") is None, "which of them?"
    assert symbols.address("fixed_percpu_data") is None


def test_hidden_addresses_give_no_names() -> None:
    hidden = Kallsyms(b"0000000000000000 T _stext\n0000000000000000 t helper\n")
    assert len(hidden) == 0
    assert hidden.names([0, 1, 2**63]) == {}


@given(st.binary(max_size=300), st.integers(0, 2**64 - 1))
def test_no_text_can_make_it_fail(raw: bytes, address: int) -> None:
    symbols = Kallsyms(raw)
    symbols.names([address])
    symbols.address("T")


ADDRESSES = st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=9, unique=True)


@given(ADDRESSES, st.sampled_from(["016x", "016X"]), st.data())
def test_each_address_is_read_as_python_reads_it(
    addresses: list[int], style: str, data: st.DataObject
) -> None:
    lines = [f"{address:{style}} T f{number}\n" for number, address in enumerate(addresses)]
    at = data.draw(st.integers(0, 15))
    wrong = data.draw(st.characters(codec="latin-1").filter(lambda one: one not in hexdigits))
    bad = f"{addresses[0]:{style}} T bad\n"
    last = f"{addresses[0]:{style}} T last\n"
    raw = "".join([*lines, bad[:at] + wrong + bad[at + 1 :], last])
    symbols = Kallsyms(raw.encode("latin-1"))
    found = [symbols.address(f"f{number}") for number in range(len(addresses))]
    assert [*found, symbols.address("last")] == [*addresses, addresses[0]]
    assert symbols.address("bad") is None


def test_this_kernels_own() -> None:
    """Read once: BPF programs and trampolines of other tests come and go meanwhile."""
    raw = read()
    symbols = Kallsyms(raw)
    address = symbols.address("do_exit")
    if address is None:
        pytest.skip("this kernel hides its symbols")
    assert symbols.names([address + 4]) == {address + 4: "do_exit+0x4"}
    assert len(symbols) <= raw.count(b"\n")


def test_without_the_file_there_are_no_symbols(tmp_path: Path) -> None:
    assert read(tmp_path / "kallsyms") == b""
    assert len(Kallsyms(b"")) == 0
