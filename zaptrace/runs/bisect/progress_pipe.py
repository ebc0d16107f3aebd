"""Progress across a process boundary: one JSON object a line."""

from __future__ import annotations

import dataclasses
import json
from typing import TextIO

from zaptrace.model.progress import Listener, State, Update

MARK = '{"zaptrace": '


def writer(stream: TextIO) -> Listener:
    """Return a listener that writes each update as a line."""

    def listen(update: Update) -> None:
        data = {"zaptrace": "update", **dataclasses.asdict(update), "state": update.state.value}
        print(json.dumps(data), file=stream, flush=True)

    return listen


def parse(line: str) -> Update | None:
    """Return the update that a line is; None for any other line."""
    if not line.startswith(MARK):
        return None
    try:
        data = json.loads(line)
        del data["zaptrace"]
        return Update(**{**data, "state": State(data["state"])})
    except (ValueError, KeyError, TypeError):
        return None
