"""`--scheduler`: what runs on a Dask cluster."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from zaptrace.model.errors import Missing


def on_cluster(name: str) -> Any:
    """Import a module that needs Dask.

    Raises:
        Missing: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        mend = "pip install 'zaptrace[cluster]'"
        raise Missing(f"a cluster needs Dask's distributed: {error}", mend) from error


def note(line: str) -> None:
    """Print what is no part of the result."""
    print(line, file=sys.stderr, flush=True)
