"""One thing that the doctor looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """What was found.

    Attributes:
        area: `kernel`, `probes` or `lab` (what builds and boots guests).
        name: what was looked at, in a word or two.
        works: None when that is not known.
        says: what was found, for a person.
        fix: the command that fixes it, or None when there is nothing to fix.
        needed: nothing works without it; else only some things do not.
    """

    area: str
    name: str
    works: bool | None
    says: str
    fix: str | None = None
    needed: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return it as `doctor --json` prints it."""
        return asdict(self)
