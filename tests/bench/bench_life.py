"""What the life of every page costs: CPU time of a boot to its stop, and time to print a life."""

from __future__ import annotations

import asyncio
import dataclasses
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probes.boot_kprobes import append_bootconfig, render
from tests.bench.limits import judged, spread
from vm import initramfs, lab_kernel, qemu
from vm.qemu import GuestConfig
from zaptrace.arch import ARCHES, Arch
from zaptrace.kernel import plan_for
from zaptrace.model.progress import ignore
from zaptrace.runs import stops
from zaptrace.runs.life_recorder import LifeRecorder, life_recorder

PAIRS, PRINTS = 15, 5
SECONDS = 300.0
LIMITS = {"s390x": 1.5, "x86_64": 1.7}
"""Of QEMU 7.2."""
PRINT_SECONDS = 1.0
Seconds = NDArray[np.float64]


def rows(run: Path) -> Iterator[dict[str, Any]]:
    """`life_cost` for each architecture, `life_print` of a finished run, and what it keeps."""
    for arch in ARCHES.values():
        yield _cost(arch)
    yield _printed(run)
    size = (run / "life.zap").stat().st_size
    conditions = "life.zap of a s390x run of the founding bug: the suspects' pages"
    yield {"name": "life_size", "value": size, "unit": "B", "conditions": conditions}


def _cost(arch: Arch) -> dict[str, Any]:
    """CPU seconds of QEMU from power-on to bad_page, with and without; boots take turns."""
    built = lab_kernel.build(arch, ignore)
    plan = plan_for(built.vmlinux)
    trace = render(plan)
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="zaptrace-life-") as folder:
        initrd = Path(folder) / "initrd"
        initrd.write_bytes(append_bootconfig(initramfs.build(arch).read_bytes(), trace.bootconfig))
        words = (arch.append, arch.lab_append, "nokaslr", *trace.arguments, "zapfault=batch")
        console = Path(folder) / "console"
        config = GuestConfig(arch, built.image, initrd, " ".join(filter(None, words)), console)
        stop_at = stops.of_the_bug(plan, "bad_page").addresses
        for number in range(PAIRS):
            for wanted in (False, True)[:: -1 if number % 2 else 1]:
                unrecorded: list[str] = []
                with life_recorder(arch.name, built.vmlinux, unrecorded) as recorder:
                    if recorder is None:
                        raise SystemExit(f"no life to measure: {unrecorded}")
                    some = recorder if wanted else None
                    seconds[wanted].append(_boot(config, stop_at, some))
    return compared(arch, np.array(seconds[True]), np.array(seconds[False]))


def compared(arch: Arch, there: Seconds, without: Seconds) -> dict[str, Any]:
    """The row of such boots: the least CPU time of each, which is what the work itself takes.

    Whoever else uses the machine's caches makes a boot dearer, never cheaper, and the one with
    lives, which touches more memory, the more.  The floor is what a boot's time differs from the
    next one's.
    """
    least, alone = float(there.min()), float(without.min())
    version = ".".join(map(str, qemu.version_of(arch.qemu)))
    pairs = there / without
    row = {
        "name": "life_cost",
        "measure": arch.name,
        "value": least,
        "unit": "s CPU",
        "peer": "the same boot without",
        "peer_value": alone,
        "ratio": round(least / alone, 2),
        "conditions": f"power-on to bad_page, kprobes in both, QEMU {version}, best of {PAIRS} in "
        f"turns; medians: {np.median(there):.2f} and {np.median(without):.2f} s, of the pairs "
        f"{np.median(pairs):.2f} times, half of them within {spread(pairs):.0%}; floor: half of "
        f"the boots without are within {spread(without[1:] / without[:-1]):.0%} of the one before",
    }
    return judged(row, f"{LIMITS[arch.name]} times", met=least <= LIMITS[arch.name] * alone)


def _boot(config: GuestConfig, stop_at: tuple[int, ...], recorder: LifeRecorder | None) -> float:
    """CPU seconds of one boot to its stop."""

    async def go() -> None:
        plugin = recorder.plugin if recorder else None
        some = dataclasses.replace(config, plugin=plugin)
        async with qemu.running(some, config.console.with_name("log")) as guest:
            if recorder is not None and await recorder.arm(guest, SECONDS) is not None:
                raise SystemExit("the guest did not get to start_kernel()")
            if await guest.run_until(stop_at, SECONDS) != "breakpoint":
                raise SystemExit("the guest did not get to bad_page()")

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    asyncio.run(go())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _printed(run: Path) -> dict[str, Any]:
    argv = [sys.executable, "-m", "zaptrace", "life", str(run)]
    taken = []
    for _ in range(PRINTS):
        started = time.monotonic()
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.monotonic() - started)
    seconds = statistics.median(taken)
    conditions = f"whole process, the founding bug's page, median of {PRINTS}"
    row = {"name": "life_print", "value": seconds, "unit": "s", "conditions": conditions}
    return judged(row, f"{PRINT_SECONDS:g} s", met=seconds <= PRINT_SECONDS)
