"""A capture of a real bug, for newcomers: the founding case on s390x, cut to one page."""

from __future__ import annotations

from pathlib import Path

from zaptrace.model.errors import Missing

CAPTURE = "founding.zap"


def path() -> Path:
    """Return the shipped capture.

    Raises:
        Missing: this installation lacks it.
    """
    found = Path(__file__).parent / CAPTURE
    if not found.is_file():
        raise Missing(
            f"{found}: the shipped capture is not there",
            "zaptrace repro s390x, then zaptrace replay RUN",
        )
    return found
