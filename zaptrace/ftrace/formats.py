"""Formats of trace events: where the fields of a record lie."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zaptrace.model.errors import BadInput

_FIELD = re.compile(
    r"^\s*field:(?P<type>[^;]*?)(?P<name>\w+)(?:\[[^];]*\])?;"
    r"\s*offset:(?P<offset>\d{1,6});\s*size:(?P<size>\d{1,6});\s*signed:(?P<signed>[01]);",
    re.MULTILINE,
)
_ID = re.compile(r"^ID:\s*(\d{1,6})\s*$", re.MULTILINE)
_SCALARS = (1, 2, 4, 8)
_MAX_SUBBUFFER = 1 << 20  # bytes; the kernel allows 128 pages of 4 KiB


@dataclass(frozen=True, slots=True)
class TraceField:
    """One field of a record.

    Attributes:
        offset, size: bytes, from the start of the record.
        signed: an integer with a sign.
        dynamic: the field holds where a string lies: its offset in the low
            half, its length in the high half of 32 bits (__data_loc).
    """

    offset: int
    size: int
    signed: bool = False
    dynamic: bool = False


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """One kprobe event.

    Attributes:
        id: what common_type says in its records.
        missed: how often the kprobe could not run, because another was running.
    """

    id: int
    fields: dict[str, TraceField]
    missed: int = 0

    @property
    def size(self) -> int:
        """Bytes of a record up to the end of its last field."""
        return max((one.offset + one.size for one in self.fields.values()), default=0)


@dataclass(frozen=True, slots=True)
class PageHeader:
    """What stands in front of a sub-buffer's records in trace_pipe_raw.

    Attributes:
        stamp, commit: the time stamp, and the bytes of records with flags.
        data_at: offset of the first record.
        size: bytes of a whole sub-buffer.
    """

    stamp: TraceField
    commit: TraceField
    data_at: int
    size: int


def fields_of(text: str) -> dict[str, TraceField]:
    """Return the fields that a tracefs `format` file describes; an array is one field."""
    return {
        one["name"]: TraceField(
            offset=int(one["offset"]),
            size=int(one["size"]),
            signed=one["signed"] == "1",
            dynamic=one["type"].startswith("__data_loc"),
        )
        for one in _FIELD.finditer(text)
    }


def parse_format(text: str) -> TraceFormat:
    """Return a tracefs `format` file of a kprobe event; fields that are no integers are left out.

    Raises:
        BadInput: the text has another form.
    """
    number = _ID.search(text)
    fields = {name: one for name, one in fields_of(text).items() if one.size in _SCALARS}
    if number is None or not fields:
        raise BadInput("the kernel's description of a trace event cannot be read")
    return TraceFormat(int(number[1]), fields)


def parse_header_page(text: str) -> PageHeader:
    """Return the file events/header_page.

    Raises:
        BadInput: the text has another form.
    """
    fields = fields_of(text)
    try:
        stamp, commit, data = (fields[name] for name in ("timestamp", "commit", "data"))
    except KeyError as error:
        raise BadInput(f"events/header_page of the kernel's tracing lacks {error}") from error
    size = data.offset + data.size
    heads_fit = all(one.offset + one.size <= data.offset for one in (stamp, commit))
    if not heads_fit or stamp.size != 8 or commit.size not in (4, 8) or size > _MAX_SUBBUFFER:
        raise BadInput("events/header_page of the kernel's tracing makes no sense")
    return PageHeader(stamp, commit, data.offset, size)
