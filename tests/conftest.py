"""How the tests run: property-based ones on machines of any speed, and in CI the same every time;
all of them hear Ctrl-C, and Python looks for cyclic garbage seldom."""

from __future__ import annotations

import gc
import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "zaptrace",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("zaptrace")

# A shell without job control starts what is put into the background with SIGINT ignored, and so
# would be all that the tests start in order to interrupt it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests make and drop many small objects: at Python's own 700 a tenth of their time goes into this.
gc.set_threshold(20_000)
