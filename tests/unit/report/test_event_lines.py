"""Events as lines: what stands in them, and that a hostile guest cannot write anything else."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

from zaptrace.model.events import Events, Kind, Origin, Records, blank
from zaptrace.report.event_lines import JsonLines, Plain


def record(kind: Kind, **fields: Any) -> Records:
    made = blank(1)
    made["kind"] = kind
    for name, value in fields.items():
        made[name] = value
    return made


TASK = {"cpu": 1, "comm": b"zapwork", "pid": 1234, "tgid": 1234, "clock": 12_345_678_901}
ZAP = record(Kind.ZAP, addr=0x7F0012345000, end=0x7F0012349000, nr=4, mm=0x8000, **TASK)
BAD = record(
    Kind.BAD_PAGE, pfn=0xA80, raw_mapcount=0, refcount=0, reason=1, stack=1, site=16, **TASK
)
RMAP = record(Kind.RMAP_REMOVE, pfn=0xA80, nr=1, raw_mapcount=-1, refcount=2, **TASK)
PTE = record(Kind.BAD_PTE, addr=0x1000, pte=0xFF, page=0x37200, **TASK)
LOST = record(Kind.LOST, nr=7, cpu=0, clock=1)
STOPPED = record(Kind.BAD_PAGE, pfn=0xA80, origin=Origin.REGISTERS, comm=b"init", pid=1)


def events(*records: Records) -> Events:
    return Events(
        np.concatenate([blank(0), *records]),
        {1: "nonzero mapcount"},
        {1: (0x210000, 0x220000)},
        {0x210000: "free_pages_prepare+0x1c", 16: "bad_page+0x0"},
    )


def plain(*records: Records) -> list[str]:
    header, *lines = Plain()(events(*records))
    assert header.split() == ["time", "cpu", "task", "event", "pfn,", "addresses,", "counters"]
    return lines


def objects(*records: Records) -> list[dict[str, Any]]:
    return [json.loads(line) for line in JsonLines()(events(*records))]


def test_a_line_an_event() -> None:
    assert plain(ZAP, RMAP, BAD, PTE, LOST, STOPPED) == [
        "   12.345678  1 zapwork/1234      zap         7f0012345000-7f0012349000 nr 4\n",
        "   12.345678  1 zapwork/1234      rmap_remove 0xa80 map 0 ref 2\n",
        "   12.345678  1 zapwork/1234    ! bad_page    0xa80 map 1 ref 0 nonzero mapcount\n",
        "   12.345678  1 zapwork/1234    ! bad_pte     page 0x37200 1000 pte 0xff\n",
        "    0.000000  0 ?/?             ? lost        nr 7\n",
        "           -  0 init/1          ! bad_page    0xa80\n",
    ]


def test_lines_fit_the_screen() -> None:
    header, *lines = Plain()(events(ZAP, RMAP, BAD, PTE, LOST))
    assert max(len(line.rstrip("\n")) for line in (header, *lines)) <= 80
    assert header.index("event") == lines[2].index("bad_page")


def test_texts_come_in_any_increment_before_their_use() -> None:
    form = Plain()
    assert len(list(form(Events(strings={1: "why"})))) == 1  # the header, once
    assert next(iter(form(Events(BAD)))).endswith("why\n")


def test_nothing_of_a_guest_reaches_the_terminal_unseen() -> None:
    evil = record(Kind.BAD_PAGE, comm=b"\x1b[2J\n\xff", pid=1, reason=1)
    _, line = Plain()(Events(evil, {1: "\x1b]0;owned\x07\n12.0 0 init"}))
    assert line.count("\n") == 1
    assert line.rstrip("\n").isprintable()
    (raw,) = JsonLines()(Events(evil, {1: "\x1b]0;owned\x07\n"}))
    assert raw.rstrip("\n").isascii()
    assert raw.rstrip("\n").isprintable()


def test_json_has_what_is_there_and_nothing_else() -> None:
    zap, rmap, bad, stopped = objects(ZAP, RMAP, BAD, STOPPED)
    assert zap == {
        "kind": "zap",
        "comm": "zapwork",
        "clock": 12_345_678_901,
        "cpu": 1,
        "pid": 1234,
        "tgid": 1234,
        "mm": 0x8000,
        "addr": 0x7F0012345000,
        "end": 0x7F0012349000,
        "nr": 4,
    }
    assert (rmap["mapcount"], rmap["refcount"], rmap["pfn"]) == (0, 2, 0xA80)
    assert (bad["mapcount"], bad["refcount"], bad["reason"]) == (1, 0, "nonzero mapcount")
    assert bad["site_symbol"] == "bad_page+0x0"
    assert bad["stack"] == [
        {"address": 0x210000, "symbol": "free_pages_prepare+0x1c"},
        {"address": 0x220000},
    ]
    assert stopped == {
        "kind": "bad_page",
        "comm": "init",
        "cpu": 0,
        "pid": 1,
        "pfn": 0xA80,
        "origin": "registers",
    }


def test_extreme_numbers_are_numbers() -> None:
    top = record(Kind.RMAP_REMOVE, raw_mapcount=2**31 - 1, mm=2**64 - 2, pid=2**31 - 1)
    assert objects(top)[0]["mapcount"] == 2**31
    assert objects(top)[0]["mm"] == 2**64 - 2
    assert "map 2147483648" in plain(top)[0]


def test_no_events_no_lines() -> None:
    assert plain() == []
    assert list(JsonLines()(Events())) == []


def test_it_keeps_up_with_a_busy_kernel() -> None:
    many = events(*[ZAP, RMAP, RMAP, RMAP] * 5000)
    for form in (Plain(), JsonLines()):
        started = time.process_time()
        assert sum(1 for _ in form(many)) >= 20_000
        assert time.process_time() - started < 4  # s; 0.3 is usual
