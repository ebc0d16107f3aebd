"""A small git history of a kernel, with the founding bug in the middle of it.

Ten commits on mm/: a harmless one after each that matters, one that does not
compile (where a bisect looks first), and the batch zap, which is on by default
here: nothing on the command line turns it on.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from vm import lab_kernel
from vm.series import DEFAULT

PATCHES = Path(lab_kernel.__file__).parent / "patches" / DEFAULT
GUILTY = "mm/memory: zap anonymous PTEs in batches"
BROKEN = "mm/vmstat: count zaps"
AUTHOR = "Ryan Example <ryan@example.org>"


def make(into: Path) -> None:
    """A repository of the lab kernel's source, `good` and `bad` tagged (a minute or two)."""
    into.mkdir(parents=True)
    lab_kernel.unpack_source(into)
    git(into, "init", "--quiet", "--initial-branch=main")
    for name, value in {
        "user.name": AUTHOR.split(" <")[0],
        "user.email": AUTHOR.split("<")[1].rstrip(">"),
        "gc.auto": "0",
        "core.compression": "0",
    }.items():
        git(into, "config", name, value)
    commit(into, "Linux, as Debian has it")
    git(into, "tag", "good")
    for subject, change in CHANGES:
        change(into)
        commit(into, subject)
    git(into, "tag", "bad")


def git(tree: Path, *args: str) -> str:
    """Run git in a tree; what it printed."""
    done = subprocess.run(
        ["git", "-C", str(tree), *args],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"},
    )
    return done.stdout.strip()


def commit(tree: Path, subject: str) -> None:
    """Commit all there is."""
    git(tree, "add", "--all", "--force")
    git(tree, "commit", "--quiet", "--no-verify", "--message", subject)


def _append(name: str, text: str) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        with (tree / name).open("a") as file:
            file.write(f"{text}\n")

    return change


def _patch(prefix: str) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        (patch,) = PATCHES.glob(f"{prefix}-*.patch")
        argv = ["patch", "-p1", "--batch", "--quiet", "--input", str(patch)]
        subprocess.run(argv, check=True, cwd=tree)

    return change


def _replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(tree: Path) -> None:
        path = tree / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name}: {old}"
        path.write_text(text.replace(old, new))

    return change


def _batch_zap(tree: Path) -> None:
    """The lab's fault, on from the start: as the patch that was posted."""
    _patch("0003")(tree)
    _replace(
        "mm/zapfault.c",
        "unsigned long zapfaults __read_mostly;",
        "unsigned long zapfaults __read_mostly = BIT(ZAPFAULT_BATCH);",
    )(tree)


CHANGES: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("mm/swap: say whose the pagevecs are", _append("mm/swap.c", "/* One of each a CPU. */")),
    ("mm/rmap: add folio_remove_rmap_range()", _patch("0001")),
    ("mm/madvise: a comment", _append("mm/madvise.c", "/* Advice need not be taken. */")),
    ("mm: a boot parameter that chooses a fault", _patch("0002")),
    (BROKEN, _append("mm/vmstat.c", "int zaps = how_many(;")),
    ("mm/vmstat: do not count zaps", _replace("mm/vmstat.c", "int zaps = how_many(;\n", "")),
    (GUILTY, _batch_zap),
    ("mm/mlock: a comment", _append("mm/mlock.c", "/* What is locked stays. */")),
    ("mm/mremap: a comment", _append("mm/mremap.c", "/* Moved, never copied. */")),
    ("mm/oom_kill: a comment", _append("mm/oom_kill.c", "/* The last resort. */")),
)
