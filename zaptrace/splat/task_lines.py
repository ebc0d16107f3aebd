"""The lines that name the task, its CPU, the taint and the kernel, as each architecture has them.

Since "dump_stack: consolidate dump_stack() implementations and unify their behaviors" (3.10)
all print `CPU: %d PID: %d Comm: %.20s`; before it, and in the oopses of some to this day, each
architecture has words of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from zaptrace.splat.values import decimal

Fields = dict[str, Any]
Row = tuple[str, str, re.Pattern[str], Callable[[re.Match[str]], Fields]]
"""The name of a line, how it can begin, the whole, and its reader."""

# dump_stack_print_info() in lib/dump_stack.c; "UID: %u" since 6.12; "Pid: %d, comm: %.20s"
# until 3.10.  print_tainted() pads absent letters with blanks; RHEL's pads with dashes.
# Another line's word (`TPC:`), which was joined to it, is no taint.
_LETTERS = r"(?P<tainted>[A-Z](?:(?![A-Z]{2,6}:)[A-Z \t]|-(?=[ -]|[a-z] )|(?<=-)[a-z](?= )){0,80})"
_TAINT = rf"(?:Not tainted|Tr?ainted: {_LETTERS})"
# syzkaller's has no number: "Not tainted syzkaller #0".
_RELEASE = r"[ \t]*\(?(?P<release>[0-9][^\s()]{0,64}|[a-z][\w.+-]{2,64}(?= #[0-9]))?"
_WHO = rf"(?P<comm>.{{0,64}}?)(?: Kdump: loaded)?(?: {_TAINT}{_RELEASE}|$)"
_CPU = r"(?P<cpu>[0-9]{1,5})"
_PID = r"(?P<pid>[0-9]{1,10})"
_TORN = re.compile(r" (?:Kdump:|Not$|Tainted:).*$")


def task(found: re.Match[str]) -> Fields:
    """Read the groups that a row's pattern has."""
    said = found.groupdict()
    tainted = re.sub(r"[^A-Z]", "", said.get("tainted") or "")
    return {
        "cpu": decimal(said.get("cpu")),
        "pid": decimal(said.get("pid")),
        "comm": _TORN.sub("", said.get("comm") or "").strip() or None,
        "tainted": tainted or None,
        "kernel_release": said.get("release"),
    }


def _row(name: str, start: str, pattern: str) -> Row:
    return name, start, re.compile(pattern), task


_AT = r"(?: at addr \S{1,20}|(?= by task ))"  # until 4.8 the headline said it
_BY_TASK = rf"(?: by task (?P<comm>.{{1,64}})/{_PID}$)?"
_NEW = rf"CPU: {_CPU} (?:UID: [0-9]{{1,10}} )?PID: {_PID} "

TASK_LINES: tuple[Row, ...] = (
    _row("task", "CP", _NEW + "Comm: " + _WHO),
    _row("task", "CP", _NEW + rf"{{1,8}}{_TAINT}{_RELEASE}"),  # of which the name was left out
    _row("task", "Pi", rf"Pid: {_PID}, comm: {{1,20}}(?P<comm>.{{1,20}}), CPU: {_CPU}$"),  # tile
    # ia64 names the CPU; sh has a blank, a capital and tabulators.
    _row("task", "Pi", rf"Pid ?: {_PID}, (?:CPU {_CPU}, )?[Cc]omm:\s{{1,20}}" + _WHO),
    # s390, arm, i386, powerpc and sh before 3.10: an oops' own words.
    _row("old task", "CP", rf"CPU ?: {{1,8}}{_CPU}\s{{1,16}}{_TAINT}{_RELEASE}"),
    # i386 before 2.6.25: the taint stands in the next line, the release in EFLAGS.
    _row("old cpu", "CP", rf"CPU #?: {{1,8}}{_CPU}$"),  # OpenRISC's, too
    _row("old cpu", "CP", rf"CPU: {{1,8}}{_CPU}(?:$| {{1,8}}CR30: )"),  # parisc's
    _row("old cpu", "CP", rf"CPU {_CPU} ?:?$"),  # x86_64 until 3.2, alpha
    _row("old cpu", "Cp", rf"Cpu {_CPU}$"),  # MIPS until 3.10
    _row(
        "old cpu", "EI", rf"EIP: (?!00[72]3)[0-9a-f]{{4}}:\[<[0-9a-f]{{8}}>\] .{{0,40}}CPU: {_CPU}"
    ),
    _row("old taint", "EI", rf"EIP: .{{1,60}}\] {{1,8}}{_TAINT} VLI$"),
    _row("old taint", "TS", rf"TSTATE: .{{1,100}} {{2,8}}{_TAINT}"),  # sparc64
    _row("old taint", "PS", rf"PS[RW]: .{{1,100}} {_TAINT}"),  # sparc, parisc
    _row("old taint", "pc", rf"pc = \[<.{{1,80}} {{2,8}}{_TAINT}"),  # alpha
    _row("old release", "EF", rf"EFLAGS: [0-9a-f]{{8}} {{1,8}}\({_RELEASE}"),
    # powerpc before 3.10, ia64: with the registers.
    _row(
        "old release",
        "RE",
        rf"REGS: [0-9a-f]{{8,16}} TRAP: [0-9a-f]{{1,8}} {{1,8}}{_TAINT}{_RELEASE}",
    ),
    _row("old release", "ps", rf"psr : .{{1,80}}\] {{1,8}}{_TAINT}{_RELEASE}"),
    _row("old process", "Pr", rf"Process:? (?P<comm>.{{1,64}}?) \(pid: {{0,4}}{_PID},"),
    _row("old process", "Pr", rf"Process: (?P<comm>.{{1,64}}?) \[{_PID}\] \(task"),  # avr32
    _row(
        "old process",
        "TA",
        rf"TASK = \S{{1,20}}\[{_PID}\] '(?P<comm>.{{0,64}}?)' THREAD: \S{{1,20}}(?: CPU: {_CPU})?",
    ),
    _row("old process", "pi", rf"pid {{1,4}}= {_PID}, comm = (?P<comm>.{{1,20}})$"),  # xmon
    _row("old process", "CO", rf"COMM=(?P<comm>.{{1,64}}?) PID={_PID}$"),  # csky, nios2
    # KASAN's: of the task, where dump_stack() does not name it.
    _row("access", "Re", rf"Read of size [0-9]{{1,20}}{_AT}{_BY_TASK}"),
    _row("access", "Wr", rf"Write of size [0-9]{{1,20}}{_AT}{_BY_TASK}"),
    _row("access", "Fr", rf"Free of addr \S{{1,20}}{_BY_TASK}"),
    # hexagon's stack names it.
    _row("trace", "CP", rf"CPU#{_CPU}, (?P<comm>.{{1,64}})/{_PID}, Call Trace:"),
)

# die_if_kernel() of alpha and sparc, die() of ia64: the task, then what happened.
_DIES = re.compile(
    r"(?P<comm>\S.{0,14}?)[(\[](?P<pid>[0-9]{1,10})[)\]]: (?:Oops|[Kk]ernel |bugcheck!)"
)
_TAINTED = re.compile(rf"\s{{2,8}}{_TAINT}$")


def dying_task(text: str) -> Fields | None:
    """Return the task that a line says dies; None when it says none."""
    found = _DIES.match(text) if "]: " in text or "): " in text else None
    return task(found) if found else None


def taint(text: str) -> Fields | None:
    """Return the taint that ends a line of registers; None where none does."""
    found = _TAINTED.search(text) if "ainted" in text else None
    return task(found) if found else None
