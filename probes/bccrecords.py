"""Records of zap.bpf.c -> event records, all of one site at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from zaptrace.ftrace.derived_arguments import derive
from zaptrace.ftrace.record_array import taken
from zaptrace.model.events import ABSENT, Kind, Records, blank
from zaptrace.model.kprobe_names import recorded_args
from zaptrace.model.plan import ProbeSite

RECORD = np.dtype(
    [
        # struct event of zap.bpf.c, in the machine's own byte order.
        *((name, "u8") for name in ("clock", "page", "folio", "mm", "vma", "addr", "end", "more")),
        ("caller", "u8"),
        ("raw_mapcount", "i4"),
        ("refcount", "i4"),
        ("pid", "i4"),
        ("tgid", "i4"),
        ("nr", "u4"),
        ("stack", "i4"),
        ("cpu", "u4"),
        ("site", "u2"),
        ("order", "u1"),
        ("reserved", "u1"),
        ("comm", "S16"),
    ]
)
ALWAYS = ("clock", "pid", "tgid", "cpu", "comm")
_STORED = {"pte": "more", "reason": "more"}
"""Event field -> field of RECORD, where they differ."""

Ids = npt.NDArray[np.uint32]


def decode(
    raw: npt.NDArray[np.uint8],
    sites: Sequence[ProbeSite],
    addresses: npt.NDArray[np.uint64],
    reasons: Callable[[npt.NDArray[np.uint64]], Ids],
    stacks: Callable[[npt.NDArray[np.int32], Records], Ids],
) -> Records:
    """Return event records, in the order of the raw ones.

    Args:
        raw: shape (n, 120), as `RingBuffer.read` gives them.
        addresses: where each site is, ABSENT when not known; shape (len(sites),).
        reasons: addresses of bad_page's reasons -> ids of strings.
        stacks: the kernel's ids of stacks, and the records that they were taken
            with (same shape) -> our ids.
    """
    given = raw.view(RECORD)[:, 0]
    records = blank(len(given))
    for name in ALWAYS:
        records[name] = given[name]
    for number, site in enumerate(sites):
        mine = np.flatnonzero(given["site"] == number)
        if len(mine):
            _fill(records, mine, given, site, addresses[number], reasons)
    rows = np.flatnonzero(given["stack"] >= 0)
    records["stack"][rows] = stacks(given["stack"][rows], records[rows])
    # What no site claims is not ours: kind 0 exists nowhere else.
    known = records["kind"] != 0
    return records if np.all(known) else taken(records, known)


def _fill(
    records: Records,
    rows: npt.NDArray[np.intp],
    given: npt.NDArray[np.void],
    site: ProbeSite,
    address: np.uint64,
    reasons: Callable[[npt.NDArray[np.uint64]], Ids],
) -> None:
    """Fill in the rows of one site, with the fields that are taken there.

    Field by field: numpy copies whole structured records many times slower.
    """
    args = recorded_args(site)
    records["kind"][rows] = Kind[site.event.upper()]
    records["site"][rows] = address
    for name in args:
        values = given[_STORED.get(name, name)][rows]
        records[name][rows] = reasons(values) if name == "reason" else values
    if "page" in args:  # print_bad_pte's may be NULL
        records["page"][rows[given["page"][rows] == 0]] = ABSENT
    if any(arg.addend or arg.block for arg in args.values()):
        derived = records[rows]
        derive(derived, args)
        for name in args:
            records[name][rows] = derived[name]
