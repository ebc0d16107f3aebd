"""zaptrace: who freed my mapped page?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zaptrace.report.frames import Frames

__all__ = ["open_run"]


def open_run(path: str | os.PathLike[str]) -> Frames:
    """Open a run folder, or a capture alone, as pandas DataFrames.

    Returns:
        An object with `.events`, `.pages` and `.findings` (see Frames); each is
        made when it is asked for.

    Raises:
        BadInput: it is neither, or damaged.
        Missing: no such file; or, when a frame is asked for, no pandas.
    """
    # Guests and every command import this package: what this needs is imported here.
    from pathlib import Path

    from zaptrace.capture.reader import read
    from zaptrace.model.events import Events
    from zaptrace.report.frames import Frames
    from zaptrace.runs.folder import RunFolder

    given = Path(path)
    if not given.is_dir():
        return Frames(read(given))
    run = RunFolder.open(given)
    return Frames(read(run.capture) if run.capture.is_file() else Events(), run.audit())
