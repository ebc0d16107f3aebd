"""A run's frames as Parquet files, for whatever reads Parquet."""

from __future__ import annotations

from pathlib import Path

from zaptrace.model.errors import Missing
from zaptrace.report.dataframes import Run

NAMES = ("events", "pages", "findings")


def write(run: Run, into: Path) -> list[Path]:
    """Write one file a frame; return the paths.

    Raises:
        Missing: pandas or pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401 - pandas' own message does not say how to install it
    except ImportError:
        raise Missing(
            "Parquet needs pyarrow, which is not installed", "pip install 'zaptrace[frames]'"
        ) from None
    written = []
    for name in NAMES:
        path = into / f"{name}.parquet"
        part = path.with_name(path.name + ".part")
        getattr(run, name).to_parquet(part, engine="pyarrow")
        part.replace(path)
        written.append(path)
    return written
