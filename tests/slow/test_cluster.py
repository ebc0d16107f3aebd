"""Forty boots on two workers of this machine, one of which is killed inside a boot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.guest.test_cluster import dask, home, share_out  # noqa: F401  fixtures

pytestmark = pytest.mark.slow


def test_forty_boots_with_a_worker_lost(home: Path, dask: Cluster) -> None:  # noqa: F811
    share_out(home, dask, 40)
