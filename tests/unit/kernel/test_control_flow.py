"""Where an inlined call can be watched, on functions written in assembler for it."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from tests.unit.kernel.conftest import compiler, run
from zaptrace.elf.image import Image
from zaptrace.elf.symtab import Symbols
from zaptrace.kernel.control_flow import ControlFlow, static_branches

on_x86_64 = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the assembler here is not x86_64's"
)
HEAD = """
.text
.globl _start, called
called: ret
.type called, @function
.size called, 1
.type _start, @function
_start:
    test %edi, %edi
    je outside
"""
TAIL = """
leave: ret
.size _start, . - _start
"""
ONE_WAY = """
    nop
    jmp entry
outside:
    xor %eax, %eax
    jmp leave
entry:
    call called
    jmp leave
end:
"""
PAST_THE_ENTRY = """
    cmp $1, %esi
    jne entry
    jmp met            # as 7.3's __zap_vma_range: the first test is done already
outside:
    xor %eax, %eax
    jmp leave
entry:
    cmp $2, %edx
    je met
    inc %ecx
met:
    mov %edi, %eax
    call called
again:
    call called
    dec %eax
    jne again
    jmp leave
end:
"""
NEVER_MEET = """
    cmp $1, %esi
    jne entry
    jmp other
outside:
    xor %eax, %eax
    jmp leave
entry:
    call called
    jmp leave
other:
    call called
    jmp leave
end:
"""
IN_A_LOOP = """
    cmp $1, %esi
    jne entry
    jmp met
outside:
    xor %eax, %eax
    jmp leave
entry:
    inc %ecx
met:
    call called
    dec %eax
    jne met
    jmp leave
end:
"""
BEHIND_A_BUG = """
    cmp $1, %esi
    jne entry
    ud2
outside:
    jmp leave
entry:
    call called
    jmp leave
end:
"""
JUMP_LABEL = """
label:
    nopl 0(%rax, %rax)
    jmp entry
outside:
    jmp leave
entry:
    inc %ecx
met:
    call called
    jmp leave
end:
.section .data
.globl __start___jump_table, __stop___jump_table
__start___jump_table:
    .long label - .
    .long met - .
    .quad 0
__stop___jump_table:
.text
"""
OUT_OF_THE_FUNCTION = """
    jmp aux            # as static_cpu_has(), which is patched later
outside:
    jmp leave
entry:
    inc %ecx
met:
    call called
    jmp leave
end:
.section .altinstr_aux, "ax"
aux:
    test $1, %sil
    jne met
    jmp entry
.text
"""
NOBODY_KNOWS_HOW = """
    jmp *%rax
outside:
    jmp leave
entry:
    call called
    jmp leave
end:
"""


@on_x86_64
@pytest.mark.parametrize(
    ("body", "where"),
    [
        (ONE_WAY, ["entry"]),
        (PAST_THE_ENTRY, ["met"]),
        (NEVER_MEET, []),
        (IN_A_LOOP, []),
        (BEHIND_A_BUG, ["entry"]),
        (JUMP_LABEL, ["met"]),
        (OUT_OF_THE_FUNCTION, ["met"]),
        (NOBODY_KNOWS_HOW, []),
    ],
    ids=[
        "one way",
        "past the entry",
        "never meet",
        "in a loop",
        "after a BUG",
        "jump label",
        "out of the function",
        "by a register",
    ],
)
def test_where_an_inlined_call_is_watched(body: str, where: list[str], tmp_path: Path) -> None:
    with Image(assembled(HEAD + body + TAIL, tmp_path)) as image:
        symbols = Symbols(image)
        (function,) = symbols.functions("_start")
        places = {name: symbols.label(name) for name in ("entry", "met", "end")}
        entry, end = places["entry"], places["end"]
        assert entry is not None
        assert end is not None
        spans = [(function.address, function.address + function.size)]
        flow = ControlFlow(image, function.address, spans, static_branches(image, symbols))
        found = list(flow.probe_candidates(entry, [(entry, end)]))
    assert found[:1] == [places[name] for name in where]


MOVED = """
    jmp entry
outside:
    jmp leave
entry:
    mov %esi, %eax     # all of the call that comes before what is around it
around:
    mov %edi, %ecx
known:
    mov %edx, %esi
met:
    call called
    inc %eax
    jmp leave
end:
"""


@on_x86_64
def test_an_argument_may_be_known_later_than_at_the_entry(tmp_path: Path) -> None:
    """As 6.1's __free_pages_ok() on x86_64: a load was moved to the front of the inlined call."""
    with Image(assembled(HEAD + MOVED + TAIL, tmp_path)) as image:
        symbols = Symbols(image)
        (function,) = symbols.functions("_start")
        names = ("entry", "around", "known", "met", "end")
        entry, around, known, met, end = (symbols.label(name) or 0 for name in names)
        spans = [(function.address, function.address + function.size)]
        flow = ControlFlow(image, function.address, spans)
        found = list(flow.probe_candidates(entry, [(entry, around), (known, known), (met, end)]))
    assert found == [entry, known, met]


S390_RELATIVE = """
.text
.globl _start
.type _start, @function
called: br %r14
_start:
    ltr %r2, %r2
    je leave
entry:
    lgrl %r1, word     # single-stepped for ever on 6.12 under QEMU
after:
    l %r1, 0(%r1)
    brasl %r14, called
end:
leave: br %r14
.size _start, . - _start
.data
.balign 8
word: .quad 0
"""


@pytest.mark.parametrize("another_way", [False, True])
def test_no_probe_on_what_is_relative_to_itself(another_way: bool, tmp_path: Path) -> None:
    way = "    je after\n" if another_way else "    je leave\n"
    source = S390_RELATIVE.replace("    je leave\n", way)
    with Image(assembled(source, tmp_path, "s390x-linux-gnu-gcc")) as image:
        symbols = Symbols(image)
        (function,) = symbols.functions("_start")
        entry, after, end = (symbols.label(name) for name in ("entry", "after", "end"))
        assert entry and after and end
        spans = [(function.address, function.address + function.size)]
        found = list(
            ControlFlow(image, function.address, spans).probe_candidates(entry, [(entry, end)])
        )
    assert found[:1] == [after]


def assembled(source: str, folder: Path, gcc: str = "gcc") -> Path:
    text, path = folder / "code.S", folder / "code"
    text.write_text(source)
    run([compiler(gcc), "-nostdlib", "-no-pie", "-static", "-o", str(path), str(text)])
    return path
