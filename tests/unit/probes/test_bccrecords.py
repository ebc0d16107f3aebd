"""zap.bpf.c's records become event records: each site's fields, and nothing else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from probes.bccrecords import RECORD, decode
from zaptrace.model.events import ABSENT, ABSENT_I32, Kind, Records
from zaptrace.model.plan import ProbeArg, ProbeSite

ADDRESSES = np.array([0x1000, 0x2000, ABSENT], np.uint64)


def site(event: str, *names: str) -> ProbeSite:
    args = {name: ProbeArg("%di", "string" if name == "reason" else "x64") for name in names}
    return ProbeSite(event, "function", 0, None, False, None, args)


SITES = (
    site("bad_page", "page", "reason", "raw_mapcount"),
    site("bad_pte", "page", "pte", "addr"),
    site("page_free", "page", "order"),
)


def raw(*rows: dict[str, int]) -> npt.NDArray[np.uint8]:
    records = np.zeros(len(rows), RECORD)
    records["stack"] = -1
    for record, row in zip(records, rows, strict=True):
        for name, value in row.items():
            record[name] = value
    return records.view(np.uint8).reshape(len(rows), RECORD.itemsize)


def decoded(*rows: dict[str, int]) -> Records:
    def reasons(addresses: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint32]:
        return (addresses // 0x100).astype(np.uint32)

    def stacks(ids: npt.NDArray[np.int32], _records: Records) -> npt.NDArray[np.uint32]:
        return (ids + 1).astype(np.uint32)

    return decode(raw(*rows), SITES, ADDRESSES, reasons, stacks)


def test_each_site_fills_in_what_is_taken_there() -> None:
    bad, pte, free = decoded(
        {"site": 0, "page": 0x40, "more": 0x500, "raw_mapcount": 0, "stack": 7, "pid": 3},
        {"site": 1, "page": 0, "more": 0x777, "addr": 0x9000, "raw_mapcount": 5},
        {"site": 2, "page": 0x80, "order": 9},
    )
    assert (bad["kind"], bad["site"], bad["page"]) == (Kind.BAD_PAGE, 0x1000, 0x40)
    assert (bad["reason"], bad["raw_mapcount"], bad["stack"], bad["pid"]) == (5, 0, 8, 3)
    assert bad["pte"] == bad["addr"] == ABSENT
    assert (pte["kind"], pte["pte"], pte["addr"]) == (Kind.BAD_PTE, 0x777, 0x9000)
    assert pte["page"] == ABSENT
    assert (pte["reason"], pte["stack"], pte["raw_mapcount"]) == (0, 0, ABSENT_I32)
    assert (free["kind"], free["site"], free["order"]) == (Kind.PAGE_FREE, ABSENT, 9)


def test_a_record_of_no_site_is_left_out() -> None:
    (only,) = decoded({"site": 99, "page": 1}, {"site": 2, "page": 0x80})
    assert only["page"] == 0x80


def test_none() -> None:
    assert len(decoded()) == 0
