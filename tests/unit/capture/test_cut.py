"""Cutting: the page's story stays whole, and nothing else comes along."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from zaptrace.capture.cut import around
from zaptrace.model.errors import BadInput
from zaptrace.model.events import ABSENT, Events, Kind, Origin, Records, blank

MS = 1_000_000
PFN = 0xA80


def record(kind: Kind, clock: int, **fields: Any) -> Records:
    made = blank(1)
    made["kind"], made["clock"], made["pid"] = kind, clock, 1
    for name, value in fields.items():
        made[name] = value
    return made


def story() -> Events:
    """Each record's `addr` is its number."""
    rows = [
        record(Kind.RMAP_REMOVE, 10 * MS, pfn=PFN, pid=9),  # an earlier life of the page
        record(Kind.ZAP, 99 * MS + MS // 2, site=0x10),  # its thread, near
        record(Kind.ZAP, 99 * MS + MS // 2, pid=2, site=0x20),  # another thread
        record(Kind.BAD_PAGE, 100 * MS, pfn=PFN, reason=2, stack=3, caller=0x30),
        record(Kind.RMAP_REMOVE, 100 * MS + 3000, pfn=PFN - 15, nr=16, pid=3),  # it is the last
        record(Kind.ZAP, 100 * MS + 4000, pid=3),  # so its thread belongs to it too
        record(Kind.RMAP_REMOVE, 100 * MS + 3000, pfn=PFN - 16, nr=16, pid=4),  # just not
        record(Kind.ZAP, 102 * MS),  # its thread, too late
        record(Kind.BAD_PAGE, ABSENT, pfn=PFN, origin=Origin.REGISTERS),
        record(Kind.BAD_PAGE, ABSENT, pfn=PFN + 1, pid=5, origin=Origin.REGISTERS, reason=1),
        record(Kind.LOST, 5 * MS, nr=7, pid=-1),
        record(Kind.BAD_PTE, 100 * MS, pid=-1),  # of no thread: not of every thread
    ]
    records = np.concatenate(rows)
    records["addr"] = range(len(records))
    return Events(
        records,
        {1: "other", 2: "nonzero mapcount"},
        {3: (0x40, 0x50), 4: (0x60,)},
        {address: f"f+{address:#x}" for address in (0x10, 0x20, 0x30, 0x40, 0x60)},
        {"arch": "s390x"},
    )


def test_a_page_and_its_threads_and_what_they_need() -> None:
    whole = story()
    cut = around(whole, PFN)
    assert cut.records["addr"].tolist() == [1, 3, 4, 5, 8, 10]
    assert cut.strings == {2: "nonzero mapcount"}
    assert cut.stacks == {3: (0x40, 0x50)}
    assert list(cut.symbols) == [0x10, 0x30, 0x40]
    assert cut.meta == {"arch": "s390x"}
    assert len(whole.records) == 12


def test_the_window_is_the_caller_s() -> None:
    assert 7 in around(story(), PFN, 2 * MS).records["addr"]
    assert around(story(), PFN, 0).records["addr"].tolist() == [3, 8, 10]


def test_a_page_without_trouble_has_its_whole_life() -> None:
    whole = story()
    whole.records = whole.records[:1]
    assert around(whole, PFN).records["addr"].tolist() == [0]


def test_a_page_without_any_event() -> None:
    for pfn in (0, PFN + 9, ABSENT, 2**64 - 2):
        with pytest.raises(BadInput, match="about pfn"):
            around(story(), pfn)
