"""Ring-buffer records -> event records, all of one site at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from zaptrace.ftrace.derived_arguments import derive
from zaptrace.ftrace.formats import TraceFormat
from zaptrace.ftrace.record_array import joined, taken
from zaptrace.ftrace.return_addresses import return_addresses
from zaptrace.ftrace.subbuffers import CpuRing
from zaptrace.model.events import ABSENT, EVENT, Kind, Records, blank
from zaptrace.model.kprobe_names import recorded_args
from zaptrace.model.plan import ProbeSite

Rows = npt.NDArray[np.int64]

_COMM = 16  # TASK_COMM_LEN
_MAX_TEXT = 256  # bytes of a reason
_MAX_DEPTH = 256  # return addresses of a stack


@dataclass(slots=True)
class Decoder:
    """Decodes the rings of one kernel, one after the other.

    Attributes:
        order: byte order, `<` or `>`.
        sites: common_type -> plan site and the format of the kprobe event there.
        pid_at: offset of common_pid, 4 bytes, in every record.
        stack_type: common_type of a kernel stack.
        depth_at, stack_at: offsets of its depth (4 bytes) and its first address.
        strings, stacks: what the records' ids stand for, as model.events.Events
            has it; grows with each ring.
        short: records that were too short for their event, and left out.
    """

    order: str
    sites: dict[int, tuple[ProbeSite, TraceFormat]]
    pid_at: int
    stack_type: int
    depth_at: int
    stack_at: int
    strings: dict[int, str] = field(default_factory=dict)
    stacks: dict[int, tuple[int, ...]] = field(default_factory=dict)
    short: int = 0
    _ids: dict[str | tuple[int, ...], int] = field(default_factory=dict)

    def decode(self, ring: CpuRing) -> Records:
        """Return the records of the plan's events on one CPU, in their order.  Shape (n,)."""
        if not len(ring.starts):
            return blank(0)
        headed = np.flatnonzero(ring.sizes >= self.pid_at + 4)
        types = np.zeros(len(ring.sizes), np.int64)
        types[headed] = self._gather(ring, headed, 0, 2)
        row_of = np.full(len(types), -1)
        parts = [blank(0)]
        for number, (site, form) in self.sites.items():
            mine = np.flatnonzero(types == number)
            rows = mine[ring.sizes[mine] >= max(form.size, self.pid_at + 4)]
            self.short += len(mine) - len(rows)
            if not len(rows):
                continue
            row_of[rows] = sum(map(len, parts)) + np.arange(len(rows))
            parts.append(self._site(ring, rows, site, form))
        records = joined(parts)
        self._attach_stacks(ring, records, types, row_of)
        return taken(records, row_of[row_of >= 0])

    def _site(self, ring: CpuRing, rows: Rows, site: ProbeSite, form: TraceFormat) -> Records:
        records = blank(len(rows))
        records["clock"] = ring.stamps[rows]
        records["cpu"] = ring.cpu
        records["pid"] = self._gather(ring, rows, self.pid_at, 4)
        records["kind"] = Kind[site.event.upper()]
        # Unless the record says it (__probe_ip).
        records["site"] = ABSENT if site.address is None else site.address
        args = recorded_args(site)
        for name, place in form.fields.items():
            raw = self._gather(ring, rows, place.offset, place.size)
            if name == "__probe_ip":
                records["site"] = raw
            elif name == "comm":
                records["comm"] = _comms(ring, rows, raw)
            elif name in args and place.dynamic:
                places = zip(rows.tolist(), raw.tolist(), strict=True)
                records[name] = [self._text(ring, row, place) for row, place in places]
            elif name in args:
                signed = raw.astype(f"i{place.size}").astype(np.int64) if place.signed else raw
                records[name] = signed.astype(EVENT[name])
        derive(records, args)
        return records

    def _gather(
        self, ring: CpuRing, rows: Rows, offset: int, size: int
    ) -> npt.NDArray[np.unsignedinteger[Any]]:
        """Return the unsigned integer at one offset of many records.  Shape (len(rows),)."""
        if not len(rows):
            return np.zeros(0, f"u{size}")
        raw = _windows(ring.data, size)[ring.starts[rows] + offset]
        values: npt.NDArray[np.unsignedinteger[Any]] = raw.view(f"{self.order}u{size}").astype(
            f"u{size}"
        )
        return values

    def _text(self, ring: CpuRing, row: int, location: int) -> int:
        """Return the id of a dynamic string."""
        start, length = _located(ring, row, location, _MAX_TEXT)
        raw = ring.data[start : start + length].tobytes()
        return self._id(self.strings, raw.split(b"\0")[0].decode(errors="replace"))

    def _attach_stacks(self, ring: CpuRing, records: Records, types: Rows, row_of: Rows) -> None:
        """Attach stacks: each follows right after the record that requested it."""
        for row in (np.flatnonzero(types[1:] == self.stack_type) + 1).tolist():
            owner = row_of[row - 1]
            if owner < 0 or ring.sizes[row] < self.stack_at:
                continue
            one = np.array([row])
            pid = self._gather(ring, one, self.pid_at, 4).astype(np.int32)[0]
            if pid == records["pid"][owner]:
                site, caller = (int(records[name][owner]) for name in ("site", "caller"))
                addresses = return_addresses(self._stack(ring, one), site, caller)
                records["stack"][owner] = self._id(self.stacks, addresses)

    def _stack(self, ring: CpuRing, one: Rows) -> list[int]:
        """Return the addresses in one kernel stack record."""
        depth = int(self._gather(ring, one, self.depth_at, 4)[0])
        room = (int(ring.sizes[one[0]]) - self.stack_at) // 8
        start = int(ring.starts[one[0]]) + self.stack_at
        raw = ring.data[start : start + min(depth, room, _MAX_DEPTH) * 8]
        addresses: list[int] = raw.view(f"{self.order}u8").tolist()
        return addresses

    def _id(self, table: dict[int, Any], value: str | tuple[int, ...]) -> int:
        number = self._ids.setdefault(value, len(table) + 1)
        table[number] = value
        return number


def _located(ring: CpuRing, row: int, location: int, most: int) -> tuple[int, int]:
    """Return where a __data_loc points, cut to its own record: offset in the data, bytes."""
    offset, length = location & 0xFFFF, location >> 16
    room = max(0, int(ring.sizes[row]) - offset)
    return int(ring.starts[row]) + offset, min(length, room, most)


def _comms(
    ring: CpuRing, rows: Rows, locations: npt.NDArray[np.unsignedinteger[Any]]
) -> npt.NDArray[np.bytes_]:
    """Return the task names of many records.  Shape (len(rows),), dtype S16."""
    offsets = (locations & 0xFFFF).astype(np.int64)
    lengths = np.minimum((locations >> 16).astype(np.int64), ring.sizes[rows] - offsets)
    # A window of 16 bytes at each place of the data; what lies after its end is empty.
    padded = np.concatenate([ring.data, np.zeros(_COMM, np.uint8)])
    at = np.where(lengths > 0, ring.starts[rows] + offsets, 0)
    chars = _windows(padded, _COMM)[at].view(np.uint8).reshape(-1, _COMM)
    ends = chars == 0
    sizes = np.where(ends.any(axis=1), ends.argmax(axis=1), _COMM)
    chars[np.arange(_COMM) >= np.minimum(sizes, lengths)[:, None]] = 0
    return chars.view(f"S{_COMM}").ravel()


def _windows(data: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.void]:
    """Return what stands at each place, so many bytes; no copy.  Shape (len(data) - size + 1,)."""
    return np.ndarray((len(data) - size + 1,), f"V{size}", np.ascontiguousarray(data), strides=(1,))
