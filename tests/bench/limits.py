"""What a number must reach, printed beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def judged(row: dict[str, object], limit: str, *, met: bool) -> dict[str, object]:
    """A row with its limit in `conditions`, and whether it is `met`."""
    return row | {"conditions": f"limit: {limit}; {row['conditions']}", "met": met}


def missed(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The rows that miss their limit, by name."""
    return [title(row) for row in rows if not row.get("met", True)]


def title(row: Mapping[str, Any]) -> str:
    """A row's name, and what of it the row is about."""
    return f"{row['name']}: {row['measure']}" if "measure" in row else str(row["name"])


def spread(ratios: NDArray[np.float64]) -> float:
    """How far from their median half of some ratios are, at most."""
    return float(np.median(np.abs(ratios / np.median(ratios) - 1)))
