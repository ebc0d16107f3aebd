"""One boot a fault and architecture, explained from every subset of what it left."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import MappingProxyType

from tests.scoreboard import elsewhere
from tests.scoreboard.expected import FAULTS, OWN, PARTS, SUBSETS, expected, weaker
from tests.scoreboard.truth import Row, Truth, disagreements, of_another_address, truth
from vm.series import DEFAULT, SERIES
from zaptrace.model.lab_faults import OF_6_1

ARCHES = ("s390x", "x86_64")
KERNELS = tuple(SERIES)
JOBS = 2
"""Boots at a time: a guest has two CPUs, and keeps one of the host's busy."""
GUEST_SECONDS = 300
SECONDS = 1500.0
"""A boot with all that comes before and after it, on a machine that does other things too."""
UNDER_LOAD = "zaptrace.do=crowd"
"""Healthy guests: several workloads at a time (vm/guest/init)."""
ONE_CPU = {("7.3", "s390x"): ["--smp", "1"]}
"""Kernels that crash with two under QEMU 7.2 (docs/matrix.md)."""
NO_LARGE = {("7.3", "s390x")}
"""Kernels that cannot have the faults of large folios: without EDAT, which QEMU 7.2 has not, the
lists of deferred splits are not set up since 7.x, and the first unmapped part ends in an oops."""
_RELEASE = re.compile(r"^zaptrace: user space on (\S+)\r?$", re.MULTILINE)
LOST = "lost guest"

FILES = {
    "c": ("capture.zap", "plan.json"),
    "s": ("console.log",),
    "v": ("vmcore", "audit.json"),
    "l": ("life.zap",),
}
"""What each part of the evidence is in a run folder; run.json says how it was booted."""


def board(
    faults: Iterable[str] = FAULTS,
    arches: Iterable[str] = ARCHES,
    clean: int = 0,
    kernels: Iterable[str] = (DEFAULT,),
    made: Mapping[tuple[str, str, str], int] = MappingProxyType({}),
    look: Callable[[str, str, str], list[Row]] | None = None,
) -> Iterator[Row]:
    """Rows of the scoreboard as they come, those of one boot in a row.

    Args:
        clean: how many boots without a fault, and with load, to make on each kernel and
            architecture.
        kernels: series of lab kernels.
        made: (series, architecture, fault) -> how many boots of it there are already.
        look: (series, architecture, fault) -> the rows of a boot of it; `rows` by default.
    """
    wanted = [*faults, *("none" for _ in range(clean))]
    all_jobs = [
        (series, arch, fault)
        for series in kernels
        for fault in wanted
        for arch in arches
        if (series == DEFAULT or fault not in OF_6_1)
        and not ((series, arch) in NO_LARGE and fault.endswith("-large"))
    ]
    jobs = list((Counter(all_jobs) - Counter(made)).elements())
    with ThreadPoolExecutor(JOBS) as pool:
        for done in as_completed([pool.submit(look or rows, *job) for job in jobs]):
            yield from done.result()


def rows(series: str, arch: str, fault: str) -> list[Row]:
    """Boot once, explain from each subset."""
    with tempfile.TemporaryDirectory(prefix="zaptrace-scoreboard-") as folder:
        run = Path(folder) / "run"
        return rows_of(series, arch, fault, run, boot(series, arch, fault, run))


def rows_of(series: str, arch: str, fault: str, run: Path, lost: Row | None) -> list[Row]:
    """What a boot is explained as from each subset; the same row for each when it was lost."""
    path = run / "console.log"
    console = path.read_text(errors="replace") if path.exists() else ""
    release = _RELEASE.search(console)
    kernel = {"kernel": release[1] if release else series, "series": series}
    real = truth(fault, console)
    return [
        kernel | _row(arch, fault, subset, lost or explained(run, subset), real, series)
        for subset in SUBSETS
    ]


def boot(series: str, arch: str, fault: str, run: Path) -> Row | None:
    """`zaptrace repro`, as a user types it; what it said instead of a verdict when it failed."""
    said = boot_once(series, arch, fault, run, UNDER_LOAD if fault == "none" else "")
    return None if said is None else _no_verdict(said)


def boot_once(
    series: str, arch: str, fault: str, run: Path, append: str = "", options: Iterable[str] = ()
) -> list[str] | None:
    """Boot, and explain; the last lines that it said instead of a verdict when it failed.

    Args:
        append: more words for the kernel.
        options: more words for `zaptrace repro`.
    """
    words = ["repro", arch, "--run", str(run), "--json", "--timeout", str(GUEST_SECONDS)]
    appended = [append] if append else []
    if series == DEFAULT:
        words += ["--fault", fault]
    else:
        words += _as_own_kernel(series, arch)
        appended += [f"zapfault={fault}"]
    words += ["--append", " ".join(appended)] if appended else []
    words += [*ONE_CPU.get((series, arch), []), *options]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "zaptrace", *words],
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={**os.environ, "NO_COLOR": "1"},
        )
    except subprocess.TimeoutExpired:
        return [f"no verdict within {SECONDS:g} s"]
    if (run / "verdict.json").exists():
        return None
    return done.stderr.strip().splitlines()[-2:]


def _as_own_kernel(series: str, arch: str) -> list[str]:
    """The lab kernel of another series than repro's own, built now if need be."""
    from vm import lab_kernel
    from zaptrace.arch import arch_named
    from zaptrace.model.progress import ignore

    built = lab_kernel.build(arch_named(arch), ignore, series=series)
    return ["--kernel", str(built.image), "--vmlinux", str(built.vmlinux)]


def _no_verdict(said: list[str]) -> Row:
    """No guest, no verdict: that is not a wrong one."""
    nobody = {"pfn": None, "comm": None, "function": None, "summary": ""}
    return {"kind": LOST, "doubts": said, "evidence": [], **nobody}


def explained(run: Path, subset: str) -> Row:
    """The verdict from a part of what a run left: the other files are not there."""
    from tests.verdict_check import objections
    from zaptrace.model.progress import ignore
    from zaptrace.runs.explain_run import analyse
    from zaptrace.runs.folder import RunFolder
    from zaptrace.runs.signature import signature_of

    names = ["run.json", *(name for part in subset for name in FILES[part])]
    with tempfile.TemporaryDirectory(prefix="zaptrace-scoreboard-") as folder:
        for name in names:
            if (run / name).exists():
                (Path(folder) / name).symlink_to(run / name)
        part = RunFolder.open(Path(folder))
        result = analyse(part, part.facts(), ignore)
    verdict = result.verdict
    return {
        **verdict.to_json(),
        "function": signature_of(verdict).function,
        "objections": objections(verdict, result.evidence),
    }


def _row(
    arch: str, fault: str, subset: str, verdict: Row, real: Truth, series: str = DEFAULT
) -> Row:
    """A row of the shared schema, with what it needs to be understood."""
    wanted, less = expected(fault, arch, subset), weaker(fault, arch, subset)
    if fault in elsewhere.FAULTS or (series != DEFAULT and fault != "none"):
        wanted, less = elsewhere.expected(fault, subset), None
        wrong = list(elsewhere.disagreements(fault, subset, verdict, real.pages))
    else:
        wrong = [f"got {verdict['kind']}"]
        if verdict["kind"] == wanted:
            wrong = list(disagreements(verdict, real, subset, less))
    wrong += of_another_address(verdict, real)
    wrong += elsewhere.false_others(fault, verdict)
    wrong += verdict.get("objections", [])  # a sentence that does not rest on the evidence
    if not verdict.get("sentences", True):
        wrong.append("it has no sentences")
    return {
        "fault": fault,
        "arch": arch,
        "evidence": [PARTS[part] for part in subset],
        "expected": wanted,
        "got": verdict["kind"],
        "ok": not wrong,
        "wrong": wrong,
        "pfn": verdict["pfn"],
        "comm": verdict["comm"],
        "function": verdict["function"],
        "carried_by": list(verdict["evidence"]),
        "why": less.why if less else None,
        "doubts": list(verdict["doubts"]),
    }


def ordered(found: Iterable[Row]) -> list[Row]:
    """By kernel, fault, architecture and size of the evidence, as the table has it."""
    faults, subsets = [*FAULTS, *OWN], [[PARTS[part] for part in subset] for subset in SUBSETS]
    return sorted(
        found,
        key=lambda row: (
            KERNELS.index(row["series"]),
            faults.index(row["fault"]),
            row["arch"],
            subsets.index(row["evidence"]),
        ),
    )


def write(found: list[Row], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
