"""`make soak`: the tests that boot guests, run again and again, most times beside compilers.

Ten runs, six of them beside two compile jobs: hours, so they may be of several commits and
machines.  After each one it stands in build/soak.json with its commit, its result, and what failed
of what; the same command does those that are left, whenever it was ended.  On a machine without
that file it goes on from docs/soak.json, where a commit has kept it.  One that failed is done again
when the commit is another one, its cause being fixed, and stays in the file.  Exit status is 1
while one has not passed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vm import host
from zaptrace.model.paths import write_whole

OUTPUT, COMMITTED = Path("build/soak.json"), Path(__file__).parents[1] / "docs/soak.json"
RUNS = 10
LOADED = frozenset({2, 4, 5, 7, 8, 10})
"""The runs beside compilers."""
COMPILERS = 2
SELECTION = ("--numprocesses", "auto", "tests/guest")
PASSED, FAILED, BROKEN = "passed", "failed", "broken"
_LONGEST_CAUSE = 300
STATEMENTS = 4000


def main(argv: Sequence[str] | None = None) -> int:
    """Do the runs that are left."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help="default: 10")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE")
    parser.add_argument("pytest", nargs="*", help="for pytest; default: all tests that boot guests")
    args = parser.parse_args(argv)
    selection = [*(args.pytest or SELECTION)]
    kept, commit = _kept(args.output, selection), _commit()
    for number in _left(kept["runs"], args.runs, commit):
        with _compilers(COMPILERS if number in LOADED else 0) as load:
            found = {"run": number, "commit": commit, "load": load, **_run(selection)}
        kept["runs"].append(found)
        write_whole(args.output, (json.dumps(kept, indent=1) + "\n").encode())
        print(f"run {number} of {args.runs}, {load}: {found['result']}", flush=True)
        for cause in found["cause"]:
            print(f"  {cause}", flush=True)
    passed = {run["run"] for run in kept["runs"] if run["result"] == PASSED}
    return int(not passed.issuperset(range(1, args.runs + 1)))


def _left(runs: list[dict[str, Any]], wanted: int, commit: str) -> list[int]:
    """The numbers of the runs that have neither passed nor, of this commit, been done."""
    done = {run["run"] for run in runs if run["result"] == PASSED or run["commit"] == commit}
    return [number for number in range(1, wanted + 1) if number not in done]


def _kept(output: Path, selection: list[str]) -> dict[str, Any]:
    """The runs of these tests that have been done."""
    output = output if output.exists() else COMMITTED
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept: dict[str, Any] = json.loads(output.read_bytes())
        if kept["tests"] == selection and isinstance(kept["runs"], list):
            return kept
    return {"tests": selection, "runs": []}


def _commit() -> str:
    """The commit, and whether the checkout is that."""
    return host.output("git", "describe", "--always", "--dirty", "--abbrev=12").strip()


def _run(selection: Sequence[str]) -> dict[str, Any]:
    """One run of pytest: its result, what failed of what, and its seconds."""
    with tempfile.TemporaryDirectory(prefix="zaptrace-soak-") as scratch:
        report = Path(scratch) / "report.xml"
        began = time.monotonic()
        tied = ("setpriv", "--pdeathsig", "TERM")
        argv = [*tied, sys.executable, "-m", "pytest", "-v", f"--junit-xml={report}", *selection]
        status = subprocess.run(argv, check=False).returncode
        seconds = round(time.monotonic() - began, 1)
        if status == 2:  # interrupted: it is no run
            raise KeyboardInterrupt
        causes = list(_causes(report))
    result = PASSED if status == 0 else FAILED if status == 1 and causes else BROKEN
    if result == BROKEN:
        causes.append(f"pytest ended with status {status}")
    return {"result": result, "cause": causes, "seconds": seconds}


def _causes(report: Path) -> Iterator[str]:
    """`FILE::TEST: what it said`, of each that failed."""
    try:
        root = ET.parse(report).getroot()
    except (OSError, ET.ParseError):
        return
    for case in root.iter("testcase"):
        for bad in [*case.findall("failure"), *case.findall("error")]:
            said = " ".join((bad.get("message") or "").split())[:_LONGEST_CAUSE]
            yield f"{case.get('classname')}::{case.get('name')}: {said}"


@contextlib.contextmanager
def _compilers(count: int) -> Iterator[str]:
    """Compilers that compile the same file for ever; what they are called in a run's "load"."""
    ended = threading.Event()
    with tempfile.TemporaryDirectory(prefix="zaptrace-soak-") as scratch:
        source = Path(scratch) / "load.c"
        lines = [f"\tx = x * {n | 1}u + (x >> {n % 31 + 1});" for n in range(STATEMENTS)]
        whole = ["unsigned f(unsigned x)", "{", *lines, "\treturn x;", "}"]
        source.write_text("".join(f"{line}\n" for line in whole))

        def compile_on() -> None:
            while not ended.is_set():
                host.output("gcc", "-O2", "-S", "-o", "/dev/null", str(source))

        threads = [threading.Thread(target=compile_on) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield f"{count} compile jobs" if count else "none"
        finally:
            ended.set()
            for thread in threads:
                thread.join()


if __name__ == "__main__":
    sys.exit(main())
