"""How the tests run: property-based ones on machines of any speed, and in CI the same every time;
all of them hear Ctrl-C, and cyclic garbage is collected between them."""

from __future__ import annotations

import gc
import os
import random
import resource
import signal
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.internal import entropy

from tests.forks import pytest_addoption, pytest_runtestloop

__all__ = ["pytest_addoption", "pytest_runtestloop"]

settings.register_profile(
    "zaptrace",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("zaptrace")
# No test uses numpy's global random numbers, which hypothesis would seed and restore around each
# example: a third of what an example costs.
entropy.NP_RANDOM = random.Random()

# A shell without job control starts what is put into the background with SIGINT ignored, and so
# would be all that the tests start in order to interrupt it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests make and drop many small objects: a tenth of their time went into looking for cyclic
# garbage. Half a gigabyte is left by all the quick tests together, where one process runs them.
gc.set_threshold(20_000)  # for the tests with guests, which enable it
gc.disable()
_ENOUGH_OBJECTS = 500_000
_ENOUGH_PAGES = (1 << 30) // resource.getpagesize()


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every search for garbage."""
    gc.freeze()


def pytest_runtest_logfinish() -> None:
    """Collect the cyclic garbage that tests have left, once the process is as big as a gigabyte."""
    if gc.get_count()[0] > _ENOUGH_OBJECTS and _pages() > _ENOUGH_PAGES:
        gc.collect()


def _pages() -> int:
    """Return the process's resident memory in pages."""
    return int(Path("/proc/self/statm").read_text().split()[1])


def pytest_sessionfinish() -> None:
    """End without five more searches (pytest's) and one of Python's."""
    gc.freeze()
