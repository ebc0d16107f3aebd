"""Logs cut, interleaved, thinned, wrapped and dressed anew: never a crash, never a foreign field.

Each report of a log has numbers and names that no other has: what a splat says must be of one
report, the one of its headline.
"""

from __future__ import annotations

import random
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.splat.builders import wrapped
from tests.unit.splat.kinds_of_reports import REPORTS
from tests.unit.splat.transports import PREFIXES, TRANSPORTS
from zaptrace.splat import parse

NAMES = sorted(REPORTS)
LOST = {
    "headline": re.compile(r"BUG|WARNING|Bad p|bad p|d swap|Corrupted|Eeek"),
    "page": re.compile(r"page:"),
    "flags": re.compile(r"(?:\w+ )?flags:"),
    "raw": re.compile(r"raw:"),
    "reason": re.compile(r"page dumped because"),
    "task": re.compile(r"CPU:|Pid:|Hardware|Tainted"),
    "trace": re.compile(r"Call [Tt]race|Backtrace"),
    "frames": re.compile(r".*\+0x"),
}
"""Kinds of lines, one of which each report of a log lost, all or some."""
DEADLINE = 5.0


def marked(name: str, mark: int) -> list[str]:
    """A report whose task, pid, pfn and return addresses bear a mark of its own."""
    lines = []
    for line in REPORTS[name][0]:
        line = line.replace("4321", f"{70000 + mark}").replace("worker-7", f"w{mark:03d}")
        line = re.sub(r"\b([a-z_]{4,})\+0x[0-9a-f]+/", rf"\1+0xeee{mark:03x}/", line)
        lines.append(line.replace("2b4c1", f"{0xAB000 + mark:05x}"))
    return lines


def marks(data: dict[str, Any]) -> set[int]:
    """The marks of all that a splat says."""
    owner = data["page_owner"] or {}
    frames = list(data["trace"])
    for stack in (owner.get("allocated"), owner.get("freed")):
        frames += (stack or {}).get("trace", ())
    offsets = [frame["offset"] or 0 for frame in frames]
    found = {offset & 0xFFF for offset in offsets if offset >> 12 == 0xEEE}
    for name in ("process", "comm"):
        if one := re.fullmatch(r"w(\d{3})", data[name] or ""):
            found.add(int(one[1]))
    if data["pid"] and 70000 <= data["pid"] < 71000:
        found.add(data["pid"] - 70000)
    if data["pfn"] and 0xAB000 <= data["pfn"] < 0xAB400:
        found.add(data["pfn"] - 0xAB000)
    return found


def check(log: bytes) -> list[dict[str, Any]]:
    """Every splat says things of one report only."""
    found = [splat.to_json() for splat in parse(log)]
    for data in found:
        assert len(marks(data)) <= 1, (data, log.decode("utf-8", "replace"))
    return found


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
    st.sampled_from(sorted(TRANSPORTS)),
    st.integers(0, 2**32),
    st.sampled_from((0.1, 0.5, 1.0)),
    st.sampled_from(sorted(LOST)),
    st.sampled_from((0.0, 0.05)),
)
def test_what_is_lost_is_absent_and_nothing_is_moved(
    names: list[str], transport: str, seed: int, share: float, kind: str, others: float
) -> None:
    rng = random.Random(seed)
    lines = []
    for mark, name in enumerate(names):
        for line in marked(name, mark):
            lost = share if LOST[kind].match(line) else others
            if rng.random() >= lost:
                lines.append(line)
        lines.append("usb 1-1: reset")
    check(TRANSPORTS[transport](lines))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(NAMES), min_size=2, max_size=4),
    st.integers(0, 2**32),
    st.sampled_from(("callers", "hosts", "hosts, stamps")),
)
def test_interleaved_sources_stay_apart(names: list[str], seed: int, how: str) -> None:
    rng = random.Random(seed)
    prefix = {
        "callers": "[    1.{at:06d}][ T{mark}] ",
        "hosts": "Mar  5 09:07:00 box{mark} kernel: ",
        "hosts, stamps": "Mar  5 09:07:00 box-{mark} kernel: [    1.{at:06d}] ",
    }[how]
    queues = [(mark, marked(name, mark)) for mark, name in enumerate(names)]
    out: list[str] = []
    while queues:
        mark, lines = rng.choice(queues)
        out.append(prefix.format(at=len(out), mark=mark) + lines.pop(0))
        queues = [one for one in queues if one[1]]
    found = check(("\n".join(out) + "\n").encode())
    wanted = [keys["kind"] for name in names for keys in REPORTS[name][1]]
    assert sorted(data["kind"] for data in found) == sorted(wanted)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3),
    st.sampled_from(sorted(PREFIXES)),
    st.integers(0, 2**32),
    st.integers(40, 100),
)
def test_cut_wrapped_and_dressed_anew_it_is_read_or_left(
    names: list[str], transport: str, seed: int, width: int
) -> None:
    rng = random.Random(seed)
    prefix = PREFIXES[transport]
    lines = [line for mark, name in enumerate(names) for line in marked(name, mark)]
    out = []
    for at, line in enumerate(lines):
        dressed = prefix(at) if rng.random() < 0.95 else rng.choice(list(PREFIXES.values()))(at)
        whole = dressed + line
        out += wrapped(whole, width) if rng.random() < 0.5 else [whole]
    data = "\n".join(out).encode()
    start, end = sorted((rng.randrange(len(data)), rng.randrange(len(data) + 1)))
    for log in (data, data[start:], data[:end], data[start:end]):
        parse(log)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(NAMES), min_size=2, max_size=3),
    st.sampled_from(sorted(PREFIXES)),
    st.integers(0, 2**32),
    st.sampled_from((70, 72, 76, 78, 79, 80)),
)
def test_what_a_mailer_broke_stays_with_its_report(
    names: list[str], transport: str, seed: int, width: int
) -> None:
    rng = random.Random(seed)
    prefix = PREFIXES[transport]
    lines = [
        line for mark, name in enumerate(names) for line in (*marked(name, mark), "usb 1-1: reset")
    ]
    out = []
    for at, line in enumerate(lines):
        whole = prefix(at) + line
        out += wrapped(whole, width) if rng.random() < 0.5 else [whole]
    check("\n".join(out).encode())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 2**32))
def test_bytes_that_flip_crash_nothing(name: str, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray("\n".join(marked(name, 1)).encode())
    for _ in range(rng.randrange(1, 40)):
        data[rng.randrange(len(data))] = rng.choice((0, 10, 13, 27, 32, 34, 60, 91, 93, 123, 255))
    parse(bytes(data))


LONG = (
    "BUG: Bad page state in process ",
    "worker: Corrupted page table at address ",
    '{"MESSAGE": "',
    "MESSAGE=BUG: ",
    "> ",
    "<br>",
    "&lt;",
    "kernel: ",
    "host kernel: [    1.000000] ",
    "2024-03-05T09:07:00 ",
    "a.b-c@d ",
    "\\n[",
    "Pid: 1, comm: ",
    "vma ffff8881 start ",
    "WARNING: at ",
    "page last allocated via order 1, gfp_mask 0x1(",
    "[<ffffffff81000000>] ",
    "<ffffffff81000000>{a+1} ",
    "raw: 0000000000000000 ",
    "Tainted: G - ",
    " in process a  pfn:1",
)


def test_what_programs_warn_of_costs_little() -> None:
    line = "2024-01-01 00:00:00 INFO WARNING: DEBUG: x read page bad password swapd swap\n"
    data = line.encode() * 20_000
    started = time.process_time()
    assert parse(data) == []
    assert time.process_time() - started < DEADLINE / 5


@pytest.mark.parametrize("piece", LONG)
@pytest.mark.parametrize("lines", [1, 40])
def test_time_is_linear(piece: str, lines: int) -> None:
    """A piece over and over: on one long line, and on many of an open report."""
    one = piece * (250_000 // lines // len(piece))
    data = f"BUG: Bad page state in process a  pfn:1\n{one}\n" * lines
    started = time.process_time()
    parse(data.encode())
    assert time.process_time() - started < DEADLINE
