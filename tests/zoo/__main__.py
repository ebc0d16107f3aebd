"""`make zoo`: boots each bug of the zoo, prints what became of it, writes docs/zoo.md.

With names of bugs as arguments only those, and no page in the documentation.  With --resume only
the boots that build/zoo.json does not have: those that the last call, broken off, did not come to.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.zoo.boot import boot, boots
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
RACES = 5
"""Boots of a bug that strikes in some of them only."""


def main(words: list[str]) -> int:
    """Return 0 when every boot is explained right."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo")
    parser.add_argument("bugs", nargs="*", metavar="BUG", help="all when none is named")
    parser.add_argument("--arch", choices=("s390x", "x86_64"), help="both")
    parser.add_argument("--keep", type=Path, help="a folder for the runs; they are removed else")
    parser.add_argument("--resume", action="store_true", help="go on where the last call ended")
    args = parser.parse_args(words)
    rows: list[Row] = json.loads(OUTPUT.read_text()) if args.resume and OUTPUT.exists() else []
    done = {_name(one["bug"], one["arch"], one["folder"]) for one in rows}
    with tempfile.TemporaryDirectory(prefix="zaptrace-zoo-") as made:
        for one in _rows(args.bugs or list(BUGS), args.arch, args.keep or Path(made), done):
            rows.append(one)
            _keep(rows)
            said = "ok" if one["ok"] else f"WRONG: {'; '.join(one['wrong'])}"
            print(f"{one['kernel']} {one['bug']} {one['arch']}: {one['got']} {said}", flush=True)
    rows.sort(key=lambda one: list(BUGS).index(one["bug"]))
    _keep(rows)
    if not (args.bugs or args.arch):
        PAGE.write_text(page(rows))
    return 0 if all(one["ok"] for one in rows) else 1


def _keep(rows: list[Row]) -> None:
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(rows, indent=1) + "\n")


def _name(bug: str, arch: str, kernel: str) -> str:
    return f"{bug}-{arch}-{kernel}"


def _rows(names: list[str], only: str | None, runs: Path, done: set[str]) -> Iterator[Row]:
    """Boot each bug on each architecture, on the lab kernel and, where it has it, Debian's.

    Args:
        done: the boots that are left out, by `_name`.
    """
    for bug in (BUGS[name] for name in names):
        for arch in bug.arches:
            if only not in (None, arch):
                continue
            for which in _kernels(bug, arch):
                name = _name(bug.name, arch, which.folder.name)
                if name not in done:
                    yield _row(bug, arch, which, runs / name)


def _kernels(bug: Bug, arch: str) -> Iterator[Kernel]:
    row_of = arch_named(arch)
    yield lab_kernel.build(row_of, ignore, flavour=bug.flavour, series=bug.series)
    if not bug.patched:
        yield stock.fetch(STOCK, row_of, ignore, debug=True)


def _row(bug: Bug, arch: str, which: Kernel, runs: Path) -> Row:
    """One line; of a race a boot in which it struck, one that is explained wrong if any is."""
    if bug.race:
        made = boots(bug, arch, which, runs, RACES)
    else:
        made = [(runs, boot(bug, arch, which, runs)[1])]
    hits = [one for one in made if struck(one[0])]
    rows = [row(bug, arch, which.folder.name, *one) for one in hits or made[:1]]
    one = min(rows, key=lambda one: one["ok"])
    return {**one, "boots": len(made), "hits": len(hits), "folder": which.folder.name}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
