"""A toy history of a toy kernel: real git, and a Makefile that stands for Kbuild."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

MAKEFILE = """\
all:
\t@echo "  CC      mm/memory.o"
bzImage: all
\t@test ! -e $(CURDIR)/broken || { echo "mm/memory.c:7:1: error: expected ';'"; exit 1; }
\t@mkdir -p $(O)/arch/s390/boot && cp $(CURDIR)/mm/memory.c $(O)/arch/s390/boot/bzImage
\t@cp $(CURDIR)/mm/memory.c $(O)/vmlinux
allnoconfig:
\t@cp $(KCONFIG_ALLCONFIG) $(KCONFIG_CONFIG)
olddefconfig:
\t@true
"""


def git(tree: Path, *args: str) -> str:
    """Run git in a tree; what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(tree), *args],
        check=True,
        capture_output=True,
        text=True,
        env={**clean, "GIT_CONFIG_GLOBAL": "/dev/null"},
    )
    return done.stdout.strip()


def history(tree: Path, *, commits: int = 8, bug_from: int = 5, broken: int = -1) -> Path:
    """A repository with `good` (the first commit) and `bad` (the last one) tagged.

    Args:
        bug_from: the number of the commit that brings a file `bug`.
        broken: the number of one that does not build.
    """
    shutil.copytree(_made(commits, bug_from, broken), tree, symlinks=True)
    return tree


@functools.cache
def _made(commits: int, bug_from: int, broken: int) -> Path:
    """That repository, made once: fifty calls of git are a second."""
    folder = Path(tempfile.mkdtemp(prefix="zaptrace-test-"))
    atexit.register(shutil.rmtree, folder)
    tree = folder / "linux"
    tree.mkdir()
    git(tree, "init", "--quiet", "--initial-branch=main", "--template=")
    git(tree, "config", "maintenance.auto", "false")  # each commit would start a git for it
    git(tree, "config", "user.name", "A Hacker")
    git(tree, "config", "user.email", "hacker@example.org")
    for name in ("mm", "scripts", "arch/s390", "arch/x86"):
        (tree / name).mkdir(parents=True)
        (tree / name / "Makefile").touch()
    for name in ("Kbuild", "Kconfig"):
        (tree / name).touch()
    (tree / "Makefile").write_text(MAKEFILE)
    (tree / ".gitignore").write_text("*.o\n.*\n!.gitignore\n")
    for number in range(commits):
        (tree / "mm" / "memory.c").write_text(f"{number}\n")
        if number == bug_from:
            (tree / "bug").touch()
        (tree / "broken").unlink(missing_ok=True)
        if number == broken:
            (tree / "broken").touch()
        git(tree, "add", "--all")
        git(tree, "commit", "--quiet", "--message", f"commit {number}")
        if number == 0:
            git(tree, "tag", "good")
    git(tree, "tag", "bad")
    return tree


def state(tree: Path) -> tuple[str, ...]:
    """All of a repository that a bisect of ours must leave as it was."""
    return (
        git(tree, "rev-parse", "HEAD"),
        git(tree, "symbolic-ref", "HEAD"),
        git(tree, "status", "--porcelain", "--ignored"),
        git(tree, "for-each-ref"),
        git(tree, "worktree", "list"),
    )
