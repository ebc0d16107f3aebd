"""DWARF expressions against a stack machine of our own that runs them on made-up memory."""

from __future__ import annotations

import itertools

import pytest
from elftools.dwarf.dwarf_expr import DWARFExprOp, DWARFExprParser
from elftools.dwarf.structs import DWARFStructs
from hypothesis import given
from hypothesis import strategies as st

from zaptrace.arch import ARCHES
from zaptrace.kernel.dwarf.dies import CType
from zaptrace.kernel.dwarf.expression import Evaluator
from zaptrace.kernel.dwarf.place import Place, Unavailable
from zaptrace.kernel.fetch_args import probe_arg

CFA = Place(7, addend=160)
CALL_FRAME_CFA, STACK_VALUE, DEREF = 0x9C, 0x9F, 0x06
S390X, X86_64 = ARCHES.values()
LONG = CType(8)


def parse(*code: int) -> list[DWARFExprOp]:
    structs = DWARFStructs(little_endian=True, dwarf_format=32, address_size=8)
    return DWARFExprParser(structs).parse_expr(bytes(code))


def value(*code: int, size: int = 8) -> Place:
    return Evaluator(parse(CALL_FRAME_CFA), lambda: CFA, byteorder="big").value(parse(*code), size)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ((0x58,), Place(8)),  # reg8
        ((0x90, 0x28), Place(40)),  # regx 40
        ((0x91, 0xC8, 0x7D), Place(7, steps=(160 - 312,))),  # fbreg -312
        ((0x77, 0x80, 0x20, STACK_VALUE), Place(7, addend=4096)),  # breg7 4096
        ((0x77, 0x10), Place(7, steps=(16,))),  # in memory at breg7 16
        ((0x77, 0x10, DEREF, 0x23, 0x08), Place(7, steps=(16, 8), computed=False)),
        ((0x30, STACK_VALUE), Place(None, addend=0)),  # lit0
        ((0x09, 0xFF, STACK_VALUE), Place(None, addend=-1)),  # const1s -1
        ((0x9E, 0x02, 0x01, 0x02), Place(None, addend=0x0102)),  # implicit_value
        ((0xA3, 0x01, 0x53, STACK_VALUE), Place(3, at_entry=True)),  # entry_value(reg3)
        ((0xF3, 0x01, 0x53, STACK_VALUE), Place(3, at_entry=True)),  # GNU_entry_value
        ((0xA3, 0x01, 0x53, 0x23, 0x08, STACK_VALUE), Place(3, addend=8, at_entry=True)),
        ((0x58, 0x93, 0x08), Place(8)),  # reg8, piece 8: the whole of it
    ],
)
def test_expressions_that_compilers_write(code: tuple[int, ...], expected: Place) -> None:
    found = value(*code)
    assert (found.register, found.steps, found.addend, found.at_entry) == (
        expected.register,
        expected.steps,
        expected.addend,
        expected.at_entry,
    )


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ((), "optimised out"),
        ((0x58, 0x93, 0x04, 0x59, 0x93, 0x04), "split over several places"),
        ((0x93, 0x04, 0x59, 0x93, 0x04), "split over several places"),
        ((0xA0, 0, 0, 0, 0, 0), "optimised out: a pointer"),  # implicit_pointer
        ((0x03, *bytes(8)), "a fixed address"),  # addr
        ((0x77, 0, 0x78, 0, 0x22, STACK_VALUE), "two registers"),  # breg7 + breg8
        ((0x77, 0, 0x08, 0xF0, 0x1A, STACK_VALUE), "DW_OP_and"),
        ((0xA3, 0x01, 0x53, DEREF, STACK_VALUE), "when the function was entered"),
        ((0xA3, 0x02, 0x73, 0x08, STACK_VALUE), "function's entry"),  # entry_value(breg3 8)
        ((0xFA, 0, 0, 0, 0, STACK_VALUE), "DW_OP_GNU_parameter_ref"),
        ((DEREF, STACK_VALUE), "DW_OP_deref"),
        ((0x77, 0, 0x77, 0), "do not understand"),
        ((STACK_VALUE,), "do not understand"),
    ],
)
def test_what_cannot_be_had_says_why(code: tuple[int, ...], why: str) -> None:
    with pytest.raises(Unavailable, match=why):
        value(*code)


def test_a_frame_base_in_a_register() -> None:
    evaluator = Evaluator(parse(0x56), lambda: CFA, byteorder="little")  # reg6: clang's rbp
    assert evaluator.value(parse(0x91, 0x70), 8) == Place(6, steps=(-16,))


def test_a_frame_base_that_is_counted_from_itself() -> None:
    with pytest.raises(Unavailable, match="itself"):
        Evaluator(parse(0x91, 0x00), lambda: CFA, byteorder="little").value(parse(0x91, 0x70), 8)


@pytest.mark.parametrize(
    ("place", "kind", "location", "type_"),
    [
        (Place(8), LONG, "%r8", "x64"),
        (Place(15, steps=(200,)), CType(4), "+200(%r15)", "u32"),
        (Place(15, steps=(-8, 16)), CType(4, signed=True), "+16(-8(%r15))", "s32"),
        (Place(None, addend=-1), CType(4, signed=True), "\\-1", "s32"),
        (Place(2), CType(1), "%r2", "u8"),
        (Place(2), CType(8, signed=True), "%r2", "s64"),
    ],
)
def test_fetch_arguments(place: Place, kind: CType, location: str, type_: str) -> None:
    arg = probe_arg(place, kind, S390X)
    assert (arg.location, arg.type) == (location, type_)


@pytest.mark.parametrize(
    ("place", "kind", "why"),
    [
        (Place(16), LONG, "DWARF register 16"),  # f0
        (Place(2), CType(16), "16 bytes wide"),
        (Place(2, steps=(0,), computed=True), CType(4), "computed"),
    ],
)
def test_what_ftrace_has_no_word_for(place: Place, kind: CType, why: str) -> None:
    with pytest.raises(Unavailable, match=why):
        probe_arg(place, kind, S390X)


def test_x86_64_registers_bear_the_names_that_ftrace_knows() -> None:
    names = [probe_arg(Place(number), LONG, X86_64).location for number in (0, 1, 4, 5, 7, 15)]
    assert names == ["%ax", "%dx", "%si", "%di", "%sp", "%r15"]


def memory(address: int) -> int:
    """Made-up memory: some 64-bit number at every address."""
    return hash((address % 2**64, "memory")) % 2**64


def register(number: int) -> int:
    return hash((number, "register")) % 2**64


def run(place: Place) -> int:
    """What ftrace and a reader make of a place."""
    current = 0 if place.register is None else register(place.register)
    for step in place.steps:
        current = memory(current + step)
    return (current + place.addend) % 2**64


def sleb(number: int) -> list[int]:
    code: list[int] = []
    for _ in itertools.count():
        byte, number = number & 0x7F, number >> 7
        if number in (0, -1) and (number < 0) == bool(byte & 0x40):
            return [*code, byte]
        code.append(byte | 0x80)
    raise AssertionError


OFFSETS = st.integers(-5000, 5000)
STEPS = st.one_of(
    st.tuples(st.just("plus_uconst"), st.integers(0, 127)),
    st.tuples(st.just("constant plus"), OFFSETS),
    st.tuples(st.just("constant minus"), OFFSETS),
    st.tuples(st.just("deref"), st.just(0)),
    st.tuples(st.just("nop"), st.just(0)),
)


@given(st.integers(0, 15), OFFSETS, st.lists(STEPS, max_size=8), st.booleans())
def test_any_chain_of_loads_and_offsets(
    number: int, offset: int, steps: list[tuple[str, int]], in_memory: bool
) -> None:
    code = [0x70 + number, *sleb(offset)]
    expected = (register(number) + offset) % 2**64
    for operation, operand in steps:
        if operation == "plus_uconst":
            code += [0x23, operand]
            expected += operand
        elif operation == "constant plus":
            code += [0x11, *sleb(operand), 0x22]
            expected += operand
        elif operation == "constant minus":
            code += [0x11, *sleb(operand), 0x1C]
            expected -= operand
        elif operation == "deref":
            code += [DEREF]
            expected = memory(expected)
        else:
            code += [0x96]
    if in_memory:
        expected = memory(expected)
    else:
        code += [STACK_VALUE]
    assert run(value(*code)) == expected % 2**64
