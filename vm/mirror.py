"""A source tree's mirror: real folders, symbolic links to the files of a checkout."""

from __future__ import annotations

import os
from pathlib import Path

from vm import host
from zaptrace.model.errors import BadInput


def mirror(tree: Path, into: Path) -> int:
    """Make or renew a mirror of a git checkout, with its changes and new files; how many files.

    What git ignores (objects, .config) is left out.  A link inside the tree
    stays one, to the same relative target.

    Raises:
        BadInput: the tree is not a git checkout, or one that git does not trust, or ignores.
    """
    tree, wanted = tree.resolve(), set(_files(tree))
    if not wanted - {".gitignore"}:
        # Debian's linux-source packages have such a .gitignore.
        raise BadInput(f"git ignores all of {tree}", f"git -C {tree} add --force .")
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_others(into, wanted)
    folders = set()
    for name in wanted:
        folder = os.path.dirname(name)  # noqa: PTH120  ninety thousand of them
        if folder not in folders:
            (into / folder).mkdir(parents=True, exist_ok=True)
            folders.add(folder)
        _link(f"{tree}/{name}", f"{into}/{name}")
    return len(wanted)


def _files(tree: Path) -> list[str]:
    """Return the names of all files that are git's, or new and not ignored, and there."""
    argv = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    done = host.run("git", "-C", str(tree), *argv)
    if b"dubious ownership" in done.stderr:
        trust = f"git config --global --add safe.directory {tree}"
        raise BadInput(f"git does not trust {tree}: it belongs to another user", trust)
    if done.returncode:
        raise BadInput(f"{tree} is not a git checkout", f"git -C {tree} init")
    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    return [name for name in names if os.path.lexists(f"{tree}/{name}")]


def _remove_others(into: Path, wanted: set[str]) -> None:
    for folder, _folders, files in os.walk(into):
        base = os.path.relpath(folder, into)
        for name in files:
            path = name if base == "." else f"{base}/{name}"
            if path not in wanted:
                (into / path).unlink()


def _link(target: str, link: str) -> None:
    if os.path.islink(target):  # noqa: PTH114
        target = os.readlink(target)  # noqa: PTH115
    try:
        if os.readlink(link) == target:  # noqa: PTH115
            return
        os.unlink(link)  # noqa: PTH108
    except FileNotFoundError:
        pass
    os.symlink(target, link)  # noqa: PTH211
