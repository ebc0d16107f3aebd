"""Records of zap.bpf.c -> event records, all of one site at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from zaptrace.ftrace.arguments import derive
from zaptrace.model.events import ABSENT, Kind, Records, blank
from zaptrace.model.kprobes import recorded_args
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
_STORED = {"pte": "more"}
"""Event field -> field of RECORD, where they differ."""

Ids = npt.NDArray[np.uint32]


def decode(
    raw: npt.NDArray[np.uint8],
    sites: Sequence[ProbeSite],
    addresses: npt.NDArray[np.uint64],
    reasons: Callable[[npt.NDArray[np.uint64]], Ids],
    stacks: Callable[[npt.NDArray[np.int32], Records], Ids],
) -> Records:
    """Event records, in the order of the raw ones.

    Args:
        raw: shape (n, 120), as `RingBuffer.read` gives them.
        addresses: where each site is, ABSENT when not known; shape (len(sites),).
        reasons: addresses of bad_page's reasons -> ids of strings.
        stacks: the kernel's ids of stacks, and the records that they were taken
            with (same shape) -> our ids.
    """
    given = raw.view(RECORD).ravel()
    records = blank(len(given))
    for name in ALWAYS:
        records[name] = given[name]
    for number, site in enumerate(sites):
        mine = np.flatnonzero(given["site"] == number)
        if len(mine):
            records[mine] = _site(records[mine], given[mine], site, addresses[number], reasons)
    rows = np.flatnonzero(given["stack"] >= 0)
    records["stack"][rows] = stacks(given["stack"][rows], records[rows])
    # What no site claims is not ours: kind 0 exists nowhere else.
    kept: Records = records[records["kind"] != 0]
    return kept


def _site(
    records: Records,
    given: npt.NDArray[np.void],
    site: ProbeSite,
    address: np.uint64,
    reasons: Callable[[npt.NDArray[np.uint64]], Ids],
) -> Records:
    """The records of one site, with the fields that are taken there."""
    args = recorded_args(site)
    records["kind"] = Kind[site.event.upper()]
    records["site"] = address
    for name in args:
        if name == "reason":
            records[name] = reasons(given["more"])
        else:
            records[name] = given[_STORED.get(name, name)]
    # A kprobe at a function whose page argument is NULL (print_bad_pte) has no page.
    records["page"][records["page"] == 0] = ABSENT
    derive(records, args)
    return records
