"""A row of the decision table, and the logs that it is tried on."""

from __future__ import annotations

from dataclasses import dataclass

from zaptrace.triage import BootFacts

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
