"""Clues: what stands out in the reports of a console, and what it may mean."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause that a clue may have; the lists may be empty.

    Attributes:
        what: a phrase.
        speaks_for, speaks_against: what else the console says, a phrase each.
    """

    what: str
    speaks_for: tuple[str, ...] = ()
    speaks_against: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clue:
    """One observation, and where it leads.

    Attributes:
        row: the row of the decision table (`zaptrace.triage.decision_table`).
        title: the observation in a few words.
        seen: the observation, a sentence.
        causes: the likely causes, the likeliest first.
        measure: the next command or measurement, one a string.
        source: where the row comes from: commits, threads, functions.
        lines: the console's lines that the reports begin on, from 1.
        logs: the files that these are in, where several are read; as many as `lines`.
        pfns: the pages that these are about.
    """

    row: str
    title: str
    seen: str
    causes: tuple[Cause, ...] = ()
    measure: tuple[str, ...] = ()
    source: str = ""
    lines: tuple[int, ...] = ()
    logs: tuple[str, ...] = ()
    pfns: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it under `triage`."""
        data = dataclasses.asdict(self)
        for name in ("measure", "lines", "logs", "pfns"):
            data[name] = list(data[name])
        data["causes"] = [
            {
                "what": cause.what,
                "for": list(cause.speaks_for),
                "against": list(cause.speaks_against),
            }
            for cause in self.causes
        ]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Clue:
        """Return the inverse of `to_json`.

        Raises:
            KeyError, TypeError: `data` is not what `to_json` made.
        """
        lists = {name: tuple(data[name]) for name in ("measure", "lines", "logs", "pfns")}
        causes = tuple(
            Cause(one["what"], tuple(one["for"]), tuple(one["against"])) for one in data["causes"]
        )
        return cls(**{**data, **lists, "causes": causes})
