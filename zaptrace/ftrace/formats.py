"""Formats of trace events: where the fields of a record lie."""

from __future__ import annotations

from dataclasses import dataclass


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
