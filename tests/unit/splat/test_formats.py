"""Each line that a kernel prints of a bad page, of each era and architecture, is read back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.splat.formats_of_entries import ENTRIES
from tests.unit.splat.formats_of_owners import OWNERS
from tests.unit.splat.formats_of_pages import PAGES
from tests.unit.splat.formats_of_registers import REGISTERS
from tests.unit.splat.formats_of_stacks import FRAMES, STACKS, Stack
from tests.unit.splat.parsed import parsed
from zaptrace.model.splats import Splat

PREFIXES = ("", "[ 1234.567890] ", "[ 1234.567890][   T55] ", "<4>[ 1234.567890] ")
OF_SH = "BUG: Bad page state in process sh  pfn:1a2b3\n"
_TASK = {"release": "kernel_release"}


def _dressed(log: str, prefix: str) -> str:
    return "".join(prefix + line + "\n" for line in log.splitlines() if line or not prefix)


def _only(log: str, prefix: str) -> Splat:
    found = parsed(_dressed(log, prefix))
    assert len(found) == 1, [one.kind for one in found]
    return found[0]


def _wrong(splat: Splat, said: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, value in said.items():
        if name == "folio":
            counters = {key: getattr(splat.folio, key, None) for key in value}
            read[name] = counters
        elif name == "frames":
            read[name] = [one.symbol for one in splat.trace]
        else:
            read[name] = getattr(splat, _TASK.get(name, name))
    return {name: read[name] for name in said if read[name] != said[name]}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("name", "log", "said"), (*PAGES, *ENTRIES), ids=[name for name, *_ in (*PAGES, *ENTRIES)]
)
def test_what_is_printed_of_a_page_is_read(
    name: str, log: str, said: dict[str, Any], prefix: str
) -> None:
    splat = _only(log, prefix)

    assert _wrong(splat, said) == {}
    assert splat.unread == ()


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("name", "lines", "said"), OWNERS, ids=[name for name, *_ in OWNERS])
def test_what_page_owner_prints_is_read(
    name: str, lines: list[str], said: dict[str, Any], prefix: str
) -> None:
    page = "page:ffffea0001234560 refcount:0 mapcount:1 mapping:0000000000000000 index:0x7f1\n"
    task = "CPU: 1 PID: 9 Comm: sh Not tainted 6.1.0 #1\nCall Trace:\n bad_page+0x1/0x2\n"

    splat = _only(OF_SH + page + "\n".join(lines) + "\n" + task, prefix)
    owner = splat.page_owner

    assert owner is not None
    assert owner.state == said.get("state")
    if said.get("allocated", True):
        assert owner.allocated is not None
        names = ("order", "migratetype", "pid", "tgid", "comm", "time_ns", "free_time_ns")
        assert _wrong_owner(owner.allocated, {key: said[key] for key in names if key in said}) == {}
        symbols = [one.symbol for one in owner.allocated.trace]
        assert symbols == ["get_page_from_freelist", "alloc_pages_vma"]
    if said.get("freed"):
        assert owner.freed is not None
        assert [one.symbol for one in owner.freed.trace] == ["free_unref_page", "exit_mmap"]
        assert owner.freed.pid == said.get("free_pid")
        assert owner.freed.time_ns == said.get("freed_ns")
    else:
        assert owner.freed is None
    assert [one.symbol for one in splat.trace] == ["bad_page"]
    assert splat.unread == ()


def _wrong_owner(owner: object, said: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(owner, name) for name in said if getattr(owner, name) != said[name]}


def _stack(stack: Stack) -> str:
    lines = [stack.frame(one, place) for place, one in enumerate(FRAMES)]
    begins = f"{stack.begins}\n" if stack.begins else ""
    return begins + "\n".join(lines) + "\n" + (f"{stack.ends}\n" if stack.ends else "")


def _assert_frames(splat: Splat, stack: Stack) -> None:
    shown = [
        (one.symbol, one.offset, one.size, one.reliable)
        for one in splat.trace
        if one.symbol is not None
    ]
    assert shown == [
        (symbol, offset, size if stack.sized else None, reliable or not stack.marks)
        for symbol, offset, size, reliable in FRAMES
    ]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("stack", STACKS, ids=[one.name for one in STACKS])
def test_a_stack_of_dump_stack_is_read(stack: Stack, prefix: str) -> None:
    page = "page: refcount:0 mapcount:1 mapping:0000000000000000 index:0x7f1 pfn:0x1a2b3\n"
    reason = "page dumped because: nonzero mapcount\n"
    task = "CPU: 3 PID: 55 Comm: sh Tainted: G    B             6.1.0 #1\nHardware name: QEMU\n"

    splat = _only(OF_SH + page + reason + "Modules linked in:\n" + task + _stack(stack), prefix)

    _assert_frames(splat, stack)
    assert (splat.cpu, splat.pid, splat.comm) == (3, 55, "sh")
    assert splat.unread == ()


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("name", "stack", "registers", "said"), REGISTERS, ids=[name for name, *_ in REGISTERS]
)
def test_the_registers_of_an_oops_are_read(
    name: str, stack: str, registers: str, said: dict[str, Any], prefix: str
) -> None:
    shown = next(one for one in STACKS if one.name == stack)
    has_fault = bool(said.get("fault", True))
    said = {key: value for key, value in said.items() if key != "fault"}

    splat = _only(registers + _stack(shown), prefix)

    assert _wrong(splat, said) == {}
    if has_fault:
        first = splat.trace[0]
        assert (first.symbol, first.offset, first.size) == ("zap_pte_range", 0x123, 0x456)
    assert [one.symbol for one in splat.trace if one.symbol][has_fault:] == [
        symbol for symbol, *_ in FRAMES
    ]
    assert splat.unread == ()
