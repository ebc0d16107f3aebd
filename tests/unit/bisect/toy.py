"""A toy history of a toy kernel: real git, and a Makefile that stands for Kbuild."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
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


FILES = {
    "Makefile": MAKEFILE,
    ".gitignore": "*.o\n.*\n!.gitignore\n",
    **dict.fromkeys(("Kbuild", "Kconfig"), ""),
    **{f"{name}/Makefile": "" for name in ("mm", "scripts", "arch/s390", "arch/x86")},
}
"""Those of the first commit."""
FIRST_COMMIT = 1_700_000_000
"""Its date; each later commit is a second younger."""
USER = """\
[user]
\tname = A Hacker
\temail = hacker@example.org
[maintenance]
\tauto = false
"""


def git(tree: Path, *args: str, stdin: str = "") -> str:
    """Run git in a tree; what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(tree), *args],
        check=True,
        capture_output=True,
        text=True,
        input=stdin,
        env={**clean, "GIT_CONFIG_GLOBAL": "/dev/null"},
    )
    return done.stdout.strip()


def history(tree: Path, *, commits: int = 8, bug_from: int = 5, broken: int = -1) -> Path:
    """A repository with `good` (the first commit) and `bad` (the last one) tagged.

    Args:
        bug_from: the number of the commit that brings a file `bug`.
        broken: the number of one that does not build.
    """
    tree.mkdir()
    git(tree, "init", "--quiet", "--initial-branch=main", "--template=")
    with (tree / ".git" / "config").open("a") as config:
        config.write(USER)
    # One call of git for all commits: with one or two for each, they took a second.
    git(tree, "fast-import", "--quiet", stdin="".join(_stream(commits, bug_from, broken)))
    git(tree, "reset", "--quiet", "--hard")
    return tree


def _stream(commits: int, bug_from: int, broken: int) -> Iterator[str]:
    """That history, as `git fast-import` reads it."""
    for number in range(commits):
        yield "commit refs/heads/main\n"
        yield f"committer A Hacker <hacker@example.org> {FIRST_COMMIT + number} +0000\n"
        yield _data(f"commit {number}\n")
        if number == 0:
            yield "".join(_file(name, text) for name, text in FILES.items())
        yield _file("mm/memory.c", f"{number}\n")
        if number == bug_from:
            yield _file("bug")
        if number == broken:
            yield _file("broken")
        elif 0 <= broken == number - 1:
            yield "D broken\n"
        if number == 0:
            yield "reset refs/tags/good\nfrom refs/heads/main\n\n"
    yield "reset refs/tags/bad\nfrom refs/heads/main\n\n"


def _file(name: str, text: str = "") -> str:
    return f"M 100644 inline {name}\n{_data(text)}"


def _data(text: str) -> str:
    return f"data {len(text)}\n{text}\n"


def state(tree: Path) -> tuple[str, ...]:
    """All of a repository that a bisect of ours must leave as it was."""
    return (
        git(tree, "rev-parse", "HEAD"),
        git(tree, "symbolic-ref", "HEAD"),
        git(tree, "status", "--porcelain", "--ignored"),
        git(tree, "for-each-ref"),
        git(tree, "worktree", "list"),
    )
