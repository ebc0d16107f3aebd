"""Arguments of an inlined zap that only its thread's zap_enter knows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from zaptrace.ftrace.derived_arguments import derive, join_entry_args
from zaptrace.model.events import ABSENT, Kind, Records, blank
from zaptrace.model.plan import ProbeArg, ProbePlan, ProbeSite

PMD = 0x100000
U64 = st.integers(0, 2**64 - 1)


def plan() -> ProbePlan:
    enter = {
        "vma": ProbeArg("%r3", "x64"),
        "addr": ProbeArg("%r4", "x64"),
        "end": ProbeArg("%r5", "x64"),
    }
    zap = {
        "vma": ProbeArg("%r3", "x64", at_entry=True),
        "addr": ProbeArg("%r4", "x64", at_entry=True, block=PMD),
        "end": ProbeArg("%r14", "x64"),
        "mm": ProbeArg("%r9", "x64", at_entry=True),  # zap_enter records nothing of %r9
    }
    sites = (
        ProbeSite("zap", "unmap_page_range", 742, 0x2E6, True, None, zap),
        ProbeSite("zap_enter", "unmap_page_range", 0, 0x0, False, None, enter),
    )
    return ProbePlan("00", "s390x", "6.1", sites)


def events(*rows: tuple[Kind, int, dict[str, int]]) -> Records:
    records = blank(len(rows))
    for record, (kind, pid, fields) in zip(records, rows, strict=True):
        record["kind"], record["pid"] = kind, pid
        for name, value in fields.items():
            record[name] = value
    records["clock"] = np.arange(len(rows))
    return records


def test_each_zap_gets_its_own_threads_last_entry() -> None:
    records = events(
        (Kind.ZAP_ENTER, 1, {"vma": 11, "addr": PMD - 0x2000, "end": 3 * PMD}),
        (Kind.ZAP_ENTER, 2, {"vma": 22, "addr": 5 * PMD, "end": 6 * PMD}),
        (Kind.ZAP, 1, {"end": PMD}),
        (Kind.ZAP, 2, {"end": 6 * PMD}),
        (Kind.ZAP, 1, {"end": 2 * PMD}),
        (Kind.ZAP_ENTER, 1, {"vma": 33, "addr": 8 * PMD, "end": 8 * PMD + 0x3000}),
        (Kind.ZAP, 1, {"end": 8 * PMD + 0x3000}),
    )
    join_entry_args(records, plan())
    zaps = records[records["kind"] == Kind.ZAP]
    assert list(zaps["vma"]) == [11, 22, 11, 33]
    assert list(zaps["addr"]) == [PMD - 0x2000, 5 * PMD, PMD, 8 * PMD]
    assert set(zaps["mm"]) == {ABSENT}


def test_an_older_entry_does_not_stand_in_for_a_lost_one() -> None:
    records = events(
        (Kind.ZAP, 1, {"end": PMD}),  # its entry was overwritten
        (Kind.ZAP_ENTER, 1, {"vma": 11, "addr": 0x1000, "end": PMD}),
        (Kind.ZAP, 1, {"end": 7 * PMD}),
        (Kind.ZAP, 1, {"end": 0x1000}),
        (Kind.ZAP, 3, {"end": PMD}),
    )
    join_entry_args(records, plan())
    assert set(records["vma"][records["kind"] == Kind.ZAP]) == {ABSENT}


def test_without_the_range_s_end_a_block_is_unknown() -> None:
    records = events(
        (Kind.ZAP_ENTER, 1, {"vma": 11, "addr": 0x1000, "end": PMD}), (Kind.ZAP, 1, {})
    )
    join_entry_args(records, plan())
    assert (records["vma"][1], records["addr"][1]) == (11, ABSENT)


def test_no_events_no_joins() -> None:
    records = blank(0)
    join_entry_args(records, plan())
    assert len(records) == 0


def test_addends_wrap_as_registers_do() -> None:
    records = events((Kind.ZAP, 1, {"addr": 0x1000, "nr": 5}))
    derive(records, {"addr": ProbeArg("%r1", "x64", addend=-0x1001), "nr": ProbeArg("%r2", "u32")})
    assert (records["addr"][0], records["nr"][0]) == (2**64 - 1, 5)


@given(
    st.lists(st.tuples(U64, U64), min_size=1, max_size=5),
    st.integers(-(2**63), 2**63),
    st.sampled_from([0, 4096, PMD]),
)
def test_all_together_as_one_by_one(pairs: list[tuple[int, int]], addend: int, block: int) -> None:
    arg = ProbeArg("%r1", "x64", addend=addend, block=block)
    records = events(*((Kind.ZAP, 1, {"addr": addr, "end": end}) for addr, end in pairs))
    derive(records, {"addr": arg})
    for record, (addr, end) in zip(records, pairs, strict=True):
        absent = arg.block and end == ABSENT
        assert record["addr"] == (ABSENT if absent else arg.value(addr, end))
