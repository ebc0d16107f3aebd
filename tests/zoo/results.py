"""What a boot of the zoo came to, and what of it is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.zoo.bugs import Bug

Row = dict[str, Any]
_DONE = "zaptrace: zoo trigger ended with 0"
_NAMED = re.compile(r"\w+\(\) at [\w./-]+:\d+")
_PFN = re.compile(r"^zaptrace: zoo .*\bpfn (\d+)", re.MULTILINE)


def row(bug: Bug, arch: str, kernel: str, run: Path, document: dict[str, Any]) -> Row:
    """Return one line of the table.

    Args:
        kernel: which one was booted, in words.
        document: what `zaptrace repro --json` printed of the run.
    """
    verdict = document["verdict"]
    lives = life_of(run, verdict["pfn"])
    audit = run / "audit.json"
    findings = json.loads(audit.read_bytes())["findings"] if audit.exists() else []
    made: Row = {
        "bug": bug.name,
        "arch": arch,
        "kernel": (document["kernel_release"] or kernel) + package_of(run),
        "splats": sorted(splats(run)),
        "audit": sorted({one["class"] for one in findings if one["class"] != "in_flight"}),
        "life": lives.get("stores_since_boot"),
        "life_complete": lives.get("complete", {}).get("differ") == 0,
        "culprits": culprits(lives, verdict),
        "expected": bug.kind,
        "got": verdict["kind"],
        "summary": verdict["summary"],
        "seconds": round(sum(document["timing"].values()), 1),
    }
    of_the_bug = [line for line in made["culprits"] if any(one in line for one in bug.culprits)]
    made["culprit"] = next(iter(of_the_bug), None)
    made["wrong"] = list(wrong(bug, run, verdict, made["culprits"]))
    made["ok"] = not made["wrong"]
    return made


def package_of(run: Path) -> str:
    """Return the version of a distribution's package as its banner has it; "" of a lab kernel's."""
    console = (run / "console.log").read_text(errors="replace")
    found = re.search(r"Linux version .{1,300}? Debian (\d[\w.+~-]{1,60}) \(\d", console)
    return f" ({found[1]})" if found else ""


def wrong(bug: Bug, run: Path, verdict: dict[str, Any], lines: list[str]) -> list[str]:
    """Return what is not as it must be, a phrase each."""
    found = []
    console = (run / "console.log").read_text(errors="replace")
    # The first report stops the guest: what it printed before must be there, its end need not.
    if "zaptrace: zoo " not in console or "zoo failed" in console:
        found.append("the trigger did not work")
    if verdict["kind"] != bug.kind:
        found.append(f"got {verdict['kind']}")
    struck = {int(pfn) for pfn in _PFN.findall(console)}
    if struck and verdict["pfn"] is not None and verdict["pfn"] not in struck:
        found.append(f"page {verdict['pfn']:#x} was not struck")
    if bug.culprits and not any(name in line for name in bug.culprits for line in lines):
        found.append(f"no line of {' or '.join(bug.culprits)} is named")
    return found + objections(run)


def struck(run: Path) -> bool:
    """Return whether the trigger came to its end: a race is lost in some boots."""
    return _DONE in (run / "console.log").read_text(errors="replace")


def splats(run: Path) -> set[str]:
    """Return the kinds of the console's reports."""
    from zaptrace.splat import parse

    return {splat.kind for splat in parse((run / "console.log").read_bytes())}


def life_of(run: Path, pfn: int | None) -> dict[str, Any]:
    """Return what `zaptrace life --json` says of a page, {} where its life was not kept."""
    if pfn is None:
        return {}
    done = subprocess.run(
        [sys.executable, "-m", "zaptrace", "life", str(run), str(pfn), "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout else {}


def culprits(lives: dict[str, Any], verdict: dict[str, Any]) -> list[str]:
    """Return the lines that are at fault: those that a page's ledger is left with.

    Where it has none (a large folio's page), whoever dropped the last reference.
    """
    left = (lives.get("ledger") or {}).get("left_over", [])
    lines = [one["sentence"] for one in left]
    freed = [one for one in lives.get("writes", ()) if one["role"] == "freed"]
    for one in freed[-1:] if not lines else ():
        chain = [f"{frame['function']} {frame['source']}" for frame in one["inline_chain"]]
        lines += [f"last reference dropped: {chain[-1]}", *chain] if chain else []
    for site in verdict["sites"]:
        lines += [str(line) for line in site["inline_chain"]]
    return lines + _NAMED.findall(verdict.get("summary", ""))


def objections(run: Path) -> list[str]:
    """Return the verdict's sentences that do not rest on the run's evidence."""
    from tests.verdict_check import objections as of
    from zaptrace.model.progress import ignore
    from zaptrace.runs.explain_run import analyse
    from zaptrace.runs.folder import RunFolder

    folder = RunFolder.open(run)
    result = analyse(folder, folder.facts(), ignore)
    return list(of(result.verdict, result.evidence))
