"""A row of the decision table, and the logs that it is tried on."""

from __future__ import annotations

from dataclasses import dataclass

from zaptrace.model.clues import Clue
from zaptrace.splat import parse
from zaptrace.triage import BootFacts, Console, triage

NO_BOOT = BootFacts()


@dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
        shows: a log that it sees something in.
        likeliest: words of the cause that it ranks first; None when it has no causes.
        not_this: a log that it sees nothing in.
    """

    row: str
    shows: bytes
    likeliest: str | None
    not_this: bytes
    boot: BootFacts = NO_BOOT


def found(data: bytes, row: str, boot: BootFacts = NO_BOOT) -> list[Clue]:
    """What a row sees in a log."""
    return [clue for clue in triage(Console(tuple(parse(data)), boot)) if clue.row == row]
