"""`make zoo`: boots each bug of the zoo, prints what became of it, writes docs/zoo.md.

With names of bugs as arguments only those, and no page in the documentation.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.zoo.boot import boot
from tests.zoo.bugs import BUGS, Bug
from tests.zoo.page import page
from tests.zoo.results import Row, row, struck
from vm import lab_kernel, stock
from vm.lab_kernel import Kernel
from zaptrace.arch import arch_named
from zaptrace.model.progress import ignore

OUTPUT = Path("build/zoo.json")
PAGE = Path("docs/zoo.md")
STOCK = "12"
"""The Debian release whose kernel has the bugs that no `zoo=` puts back."""
RACES = 10
"""Boots of a bug that strikes in some of them only."""


def main(words: list[str]) -> int:
    """Return 0 when every boot is explained right."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo")
    parser.add_argument("bugs", nargs="*", metavar="BUG", help="all when none is named")
    parser.add_argument("--arch", choices=("s390x", "x86_64"), help="both")
    parser.add_argument("--keep", type=Path, help="a folder for the runs; they are removed else")
    args = parser.parse_args(words)
    rows = []
    with tempfile.TemporaryDirectory(prefix="zaptrace-zoo-") as made:
        for one in _rows(args.bugs or list(BUGS), args.arch, args.keep or Path(made)):
            rows.append(one)
            said = "ok" if one["ok"] else f"WRONG: {'; '.join(one['wrong'])}"
            print(f"{one['kernel']} {one['bug']} {one['arch']}: {one['got']} {said}", flush=True)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(rows, indent=1) + "\n")
    if not (args.bugs or args.arch):
        PAGE.write_text(page(rows))
    return 0 if all(one["ok"] for one in rows) else 1


def _rows(names: list[str], only: str | None, runs: Path) -> Iterator[Row]:
    """Boot each bug on each architecture, on the lab kernel and, where it has it, Debian's."""
    for bug in (BUGS[name] for name in names):
        for arch in bug.arches:
            if only not in (None, arch):
                continue
            for which in _kernels(bug, arch):
                yield _row(bug, arch, which, runs / f"{bug.name}-{arch}-{which.folder.name}")


def _kernels(bug: Bug, arch: str) -> Iterator[Kernel]:
    row_of = arch_named(arch)
    yield lab_kernel.build(row_of, ignore, flavour=bug.flavour, series=bug.series)
    if not bug.patched:
        yield stock.fetch(STOCK, row_of, ignore, debug=True)


def _row(bug: Bug, arch: str, which: Kernel, runs: Path) -> Row:
    """One line; of a race the first boot in which it struck."""
    boots = RACES if bug.race else 1
    rows = []
    for number in range(boots):
        run = runs / str(number)
        _, document = boot(bug, arch, which, run)
        rows.append((struck(run), row(bug, arch, which.folder.name, run, document)))
    hits = [one for did, one in rows if did]
    return {**(hits or [one for _, one in rows])[0], "boots": boots, "hits": len(hits)}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
