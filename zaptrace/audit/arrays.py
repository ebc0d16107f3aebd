"""The arrays that the audit's modules hand each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint64]
"""Addresses, PFNs or raw page-table entries, in native byte order."""
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Index = npt.NDArray[np.int64]
"""Places in the array of all struct pages (`structpages`); NOWHERE where there is none."""

NOWHERE = -1
