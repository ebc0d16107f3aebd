"""Which dump it is: an audit belongs to one dump and to no other."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from zaptrace.model.errors import BadInput


@dataclass(frozen=True, slots=True)
class Identity:
    """A dump; None is not known.

    Attributes:
        boot_id: see `zaptrace.model.boot_ids`; None for a guest that another program booted.
        size: bytes.
        mtime_ns: when the file was written.
    """

    build_id: str | None
    boot_id: str | None
    size: int
    mtime_ns: int

    def to_json(self) -> dict[str, Any]:
        """Return it as audit.json has it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Identity | None:
        """Return the inverse; None for the audit of a zaptrace that did not say.

        Raises:
            BadInput: it is neither.
        """
        try:
            return None if data is None else cls(**dict(data))
        except (TypeError, ValueError) as error:
            raise BadInput(f"audit.json does not say of which dump it is: {error}") from None
