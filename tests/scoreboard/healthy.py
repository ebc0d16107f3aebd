"""`make scoreboard HEALTHY=50`: boots of kernels without a fault, which must all be `clean`.

So many on each kernel and architecture, with a workload and a machine that differ from boot to
boot; the commands are a user's own.  After each boot it stands in build/healthy.json with its
verdict; the same command makes those that are left, whenever it was ended.  The run of one that is
not clean is kept in build/healthy.  Exit status is 1 when there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.scoreboard.board import ARCHES, KERNELS, ONE_CPU, UNDER_LOAD, boot_once
from tests.scoreboard.table import healthy_page
from vm import host
from zaptrace.model.paths import write_whole

OUTPUT = Path("build/healthy.json")
KEPT = Path("build/healthy")
PAGE = Path("docs/scoreboard.md")
BOOTS = 50
CLEAN, LOST = "clean", "no verdict"

Boot = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Variant:
    """How a boot differs from the usual one.

    Attributes:
        append: words for the kernel or its init.
        options: words for `zaptrace repro`.
        one_cpu: whether a kernel that has but one can be booted like that.
    """

    name: str
    append: str = ""
    options: tuple[str, ...] = ()
    one_cpu: bool = True


VARIANTS = (
    Variant("workload"),
    Variant("crowd", UNDER_LOAD),
    Variant("one CPU", options=("--smp", "1")),
    Variant("huge pages", f"{UNDER_LOAD} transparent_hugepage=always"),
    Variant("KASLR", options=("--kaslr",)),
    Variant("init_on_free", f"{UNDER_LOAD} init_on_alloc=1 init_on_free=1"),
    Variant("little memory", options=("--memory", "160M")),
    Variant("four CPUs", UNDER_LOAD, ("--smp", "4"), one_cpu=False),
    Variant("no probes", options=("--no-probes",)),
    Variant("1 GB", UNDER_LOAD, ("--memory", "1G")),
)
"""One after the other."""


def main(words: Sequence[str] | None = None) -> int:
    """Make the boots that are left."""
    parser = argparse.ArgumentParser(prog="python -m tests.scoreboard.healthy", description=__doc__)
    parser.add_argument("boots", nargs="?", type=int, default=BOOTS, help="on each; default: 50")
    parser.add_argument("--kernel", action="append", choices=KERNELS, help="a series; all")
    parser.add_argument("--arch", action="append", choices=ARCHES, help="both")
    parser.add_argument("--minutes", type=float, help="begin no boot after so many")
    args = parser.parse_args(words)
    ends = time.monotonic() + 60 * args.minutes if args.minutes else None
    found = kept(OUTPUT)
    for series, arch, number in left(
        found, args.boots, args.kernel or KERNELS, args.arch or ARCHES
    ):
        if ends is not None and time.monotonic() > ends:
            break
        one = _boot(series, arch, number)
        found.append(one)
        write_whole(OUTPUT, (json.dumps(found, indent=1) + "\n").encode())
        print(f"{series} {arch} {number} ({one['variant']}): {one['kind']}", flush=True)
    text = PAGE.read_text()
    PAGE.write_text(healthy_page(text, found))
    return int(any(one["kind"] != CLEAN for one in found))


def kept(path: Path) -> list[Boot]:
    """The boots that were made, but for those without a verdict."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        return [one for one in json.loads(path.read_bytes()) if one["kind"] != LOST]
    return []


def left(
    found: Iterable[Boot], boots: int, kernels: Iterable[str], arches: Iterable[str]
) -> Iterator[tuple[str, str, int]]:
    """The boots to make: series, architecture, number from 0; each kernel has its next in turn."""
    done = {(one["series"], one["arch"], one["number"]) for one in found}
    pairs = [(series, arch) for series in kernels for arch in arches]
    for number in range(boots):
        for series, arch in pairs:
            if (series, arch, number) not in done:
                yield series, arch, number


def variant_of(series: str, arch: str, number: int) -> Variant:
    """How a boot is made."""
    single = (series, arch) in ONE_CPU
    rows = [one for one in VARIANTS if one.one_cpu or not single]
    return rows[number % len(rows)]


def _boot(series: str, arch: str, number: int) -> Boot:
    variant = variant_of(series, arch, number)
    run = KEPT / f"{series}-{arch}-{number}"
    shutil.rmtree(run, ignore_errors=True)
    began = time.monotonic()
    said = boot_once(series, arch, "none", run, variant.append, variant.options)
    seconds = round(time.monotonic() - began, 1)
    verdict: Boot = {"kind": LOST, "summary": " ".join(said or ())}
    with contextlib.suppress(OSError, ValueError, KeyError):
        verdict = json.loads((run / "verdict.json").read_bytes())["verdict"]
    if verdict["kind"] == CLEAN:
        shutil.rmtree(run, ignore_errors=True)
    return {
        "series": series,
        "arch": arch,
        "number": number,
        "variant": variant.name,
        "kind": verdict["kind"],
        "summary": verdict["summary"],
        "doubts": verdict.get("doubts", []),
        "seconds": seconds,
        "commit": host.output("git", "describe", "--always", "--dirty", "--abbrev=12").strip(),
    }


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, subprocess.SubprocessError):
        raise SystemExit(main(sys.argv[1:]))
    raise SystemExit(130)
