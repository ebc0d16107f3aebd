"""`make lives`: is the recording of pages' lives whole, and does a healthy boot leave nothing over?

On each QEMU (the host's, and 10.0 out of Debian's backports) and architecture ten boots stop at the
founding bug, and some boots of a healthy kernel run to their end with every page's life kept.
Of each it is noted how many words of struct pages were not as recorded (and which), what was not
recorded, the verdict; of a healthy one the stray stores of the whole boot and what the ledgers of
a tenth of the pages that were mapped have left over, each boot another tenth.  After each boot it
stands in build/lives.json; the same command makes those that are left.  Exit status is 1 when one
of them is not as it must be.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.other_qemu import qemu_10
from vm import host
from zaptrace.life.folio_pages import TailLinks, mapped_folios
from zaptrace.life.left_over import What
from zaptrace.life.named_life import STRAY
from zaptrace.life.records import of_pages
from zaptrace.model.paths import write_whole
from zaptrace.runs.folder import RunFolder
from zaptrace.runs.run_life import RunLife, open_life

OUTPUT = Path("build/lives.json")
RUNS = Path("build/lives")
ARCHES = ("s390x", "x86_64")
QEMUS = ("host", "10.0")
STOPPED, HEALTHY = "stopped", "healthy"
KINDS = {STOPPED: "freed_before_rmap_removed", HEALTHY: "clean"}
BOOTS = {STOPPED: 10, HEALTHY: 50}
TENTHS = 10
CALLERS = 8
"""Call stacks of each storing instruction that are looked at for stray stores."""

Boot = dict[str, Any]


def main(words: Sequence[str] | None = None) -> int:
    """Make the boots that are left."""
    parser = argparse.ArgumentParser(prog="python -m tests.lives", description=__doc__)
    parser.add_argument("--stopped", type=int, default=BOOTS[STOPPED], help="boots; default: 10")
    parser.add_argument("--healthy", type=int, default=BOOTS[HEALTHY], help="boots; default: 50")
    parser.add_argument("--qemu", action="append", choices=QEMUS, help="both")
    parser.add_argument("--arch", action="append", choices=ARCHES, help="both")
    parser.add_argument("--minutes", type=float, help="begin no boot after so many")
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FILE")
    args = parser.parse_args(words)
    ends = time.monotonic() + 60 * args.minutes if args.minutes else None
    found = kept(args.output)
    counts = {STOPPED: args.stopped, HEALTHY: args.healthy}
    jobs = list(left(found, counts, args.qemu or QEMUS, args.arch or ARCHES))
    print(kept_of_before(found, args.output, len(jobs)), flush=True)
    for at, (qemu, arch, what, number) in enumerate(jobs, 1):
        if ends is not None and time.monotonic() > ends:
            break
        one = _boot(qemu, arch, what, number)
        found.append(one)
        write_whole(args.output, (json.dumps(found, indent=1) + "\n").encode())
        said = "; ".join(wrong(one)) or "fine"
        place = f"{at} of {len(jobs)}, {one['seconds']} s"
        print(f"{qemu} {arch} {what} {number} ({place}): {said}", flush=True)
    print("\n".join(table(found)))
    return int(any(wrong(one) for one in found))


def kept(path: Path) -> list[Boot]:
    """The boots that were made."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [one for one in json.loads(path.read_bytes()) if one["kind"] is not None]
    return []


def kept_of_before(found: Sequence[Boot], path: Path, jobs: int) -> str:
    """What is to be done, and what stands already: of which checkouts, for it is not made again."""
    if not found:
        return f"{jobs} boots to make"
    commits = ", ".join(dict.fromkeys(one["commit"] for one in found))
    return (
        f"{jobs} boots to make; {len(found)} stand in {path} ({commits}): remove it to begin anew"
    )


def left(
    found: Sequence[Boot], counts: dict[str, int], qemus: Sequence[str], arches: Sequence[str]
) -> Iterator[tuple[str, str, str, int]]:
    """The boots to make: QEMU, architecture, what it is, number; each has its next in turn."""
    done = {tuple(one[name] for name in ("qemu", "arch", "what", "number")) for one in found}
    for number in range(max(counts.values())):
        for qemu in qemus:
            for arch in arches:
                for what, count in counts.items():
                    if number < count and (qemu, arch, what, number) not in done:
                        yield qemu, arch, what, number


def wrong(one: Boot) -> list[str]:
    """What is not as it must be."""
    if one["kind"] != KINDS[one["what"]]:
        return [f"verdict {one['kind']}: {one['why']}"]
    said = [f"{one['differ']} words differ: {one['named']}"] if one["differ"] != 0 else []
    said += [f"not recorded: {text}" for text in one["unseen"]]
    said += [f"stray store: {text}" for text in one["strays"]]
    return said + [f"left over: {text}" for text in one["left"]]


def table(found: Sequence[Boot]) -> Iterator[str]:
    """One line for each QEMU, architecture and kind of boots."""
    yield f"{'QEMU':<12}{'arch':<8}{'boots':<16}{'words differ':>13}{'strays':>8}{'left over':>11}"
    groups: dict[tuple[str, ...], list[Boot]] = {}
    for one in found:
        groups.setdefault((one["version"], one["arch"], one["what"]), []).append(one)
    for (version, arch, what), mine in sorted(groups.items()):
        sums = [sum(one[name] or 0 for one in mine) for name in ("differ",)]
        sums += [sum(len(one[name]) for one in mine) for name in ("strays", "left")]
        good = sum(not wrong(one) for one in mine)
        boots = f"{what} {good}/{len(mine)}"
        yield f"{version:<12}{arch:<8}{boots:<16}{sums[0]:>13}{sums[1]:>8}{sums[2]:>11}"


def _boot(qemu: str, arch: str, what: str, number: int) -> Boot:
    path = os.environ["PATH"]
    if qemu == "10.0":
        path = f"{qemu_10()}:{path}"
    run = RUNS / f"{qemu}-{arch}-{what}-{number}"
    shutil.rmtree(run, ignore_errors=True)
    more = ["--fault", "none", "--stop-at", "exit", "--keep-life"] if what == HEALTHY else []
    argv = [sys.executable, "-m", "zaptrace", "repro", arch, "--no-tui", "--run", str(run), *more]
    began = time.monotonic()
    done = subprocess.run(
        argv, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    one: Boot = {
        "qemu": qemu,
        "version": _version(arch, path),
        "arch": arch,
        "what": what,
        "number": number,
        "kind": None,
        "why": done.stderr.strip().rpartition("\n")[2],
        "seconds": round(time.monotonic() - began, 1),
        "commit": host.output("git", "describe", "--always", "--dirty", "--abbrev=12").strip(),
    }
    folder = RunFolder(run)
    verdict = (folder.verdict() or {}).get("verdict")
    if verdict is not None:
        lives = open_life(folder)
        one |= {"kind": verdict["kind"], "why": verdict["summary"], **_recorded(lives)}
        one |= {"pages": 0, "strays": [], "left": []} if what == STOPPED else _pages(lives, number)
    if not wrong(one):
        shutil.rmtree(run, ignore_errors=True)
    return one


def _version(arch: str, path: str) -> str:
    program = shutil.which(f"qemu-system-{arch}", path=path) or "?"
    words = host.output(program, "--version").split()
    return words[words.index("version") + 1]


def _recorded(lives: RunLife) -> Boot:
    """What the recording is worth, as measured at the stop."""
    complete = lives.complete
    return {
        "stores": lives.life.facts.wanted,
        "words": complete.words if complete else None,
        "differ": complete.differ if complete else None,
        "named": [dataclasses.astuple(word) for word in complete.named] if complete else [],
        "unseen": list(lives.unseen),
    }


def _pages(lives: RunLife, number: int) -> Boot:
    """The stray stores to any page, and what a tenth of the pages that were mapped have left over,
    and each large folio that was mapped.

    A reference that was not put yet is held by its owner: what holds none is the audit's to find.
    """
    life, form = lives.life, lives.life.pte_format
    mapped = np.zeros(0, np.uint64)
    if form is not None:
        mapped = np.union1d(form.pfns(life.ptes["before"]), form.pfns(life.ptes["after"]))
    some = np.intersect1d(mapped, np.unique(life.pages()))[number % TENTHS :: TENTHS]
    links = TailLinks(life)
    folios = links.heads[np.isin(links.pages, mapped)]
    pfns = np.union1d(np.union1d(some, folios), mapped_folios(life)).tolist()
    small = dataclasses.replace(of_pages(life, tuple(pfns)), writers=life.writers)
    mine, audit = dataclasses.replace(lives, life=small), lives.folder.audit()
    over: Counter[str] = Counter()
    for pfn in pfns:
        account = mine.account(pfn, audit)
        for one in account.facts if account is not None else ():
            if one.what is not What.GET_WITHOUT_PUT:
                over[one.sentence()] += 1
    return {"pages": len(pfns), "strays": list(_strays(lives)), "left": list(map(str, over))}


def _strays(lives: RunLife) -> Iterator[str]:
    """Stray stores of the whole boot: each storing instruction is looked at, as called by some."""
    life = lives.life
    _, first = np.unique(_callers_of_instructions(life.records), axis=1, return_index=True)
    pcs = life.records["pc"][first]
    begins = np.searchsorted(pcs, pcs)  # they are sorted by it
    first = first[np.arange(len(first)) - begins < CALLERS]
    numbers = set(life.numbers[first].tolist())
    pfns = np.unique(life.pages()[first]).tolist()
    mine = dataclasses.replace(lives, life=of_pages(life, tuple(pfns)))
    for pfn in pfns:
        for one in mine.page(pfn, since_boot=True).writes:
            if one.write.number in numbers and one.role == STRAY:
                yield f"pfn {pfn:#x}: {one.author} at {one.author.source}"


def _callers_of_instructions(records: Any) -> Any:
    """Instruction and call stack of each record.  Shape (2, n)."""
    return np.stack((records["pc"], records["stack"].astype(np.uint64)))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, subprocess.SubprocessError):
        raise SystemExit(main(sys.argv[1:]))
    raise SystemExit(130)
