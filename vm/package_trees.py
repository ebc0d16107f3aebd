"""Trees of Debian packages, unpacked and no more, and images made of trees."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vm import debian, host
from zaptrace.model.errors import CannotTell

CODENAME = "trixie"
SUITES = (CODENAME, "stable")
"""The same release under two names: a mirror in the middle of a sync may hold one of them whole."""
SECONDS = 900.0


def unpack(arch: str, packages: Sequence[str], work: Path) -> Path:
    """Return the files of Debian 13 packages and what they depend on; the folder that holds them.

    Nothing Essential is added: name it.  No maintainer script runs.

    Args:
        arch: Debian's name of the architecture.
        work: a folder; the tree is made inside.

    Raises:
        Missing: mmdebstrap is not installed, or apt knows no mirror.
        CannotTell: the mirror has no whole Debian 13 for it.
    """
    reasons = []
    for suite in SUITES:
        tree = work / f"{suite}-{arch}"
        source = f"deb [signed-by={debian.KEYRING}] {debian.mirror()} {suite} main"
        done = host.run(
            *("mmdebstrap", "--quiet", "--mode=chrootless", "--variant=extract"),
            *("--skip=check/qemu", f"--architectures={arch}", f"--include={','.join(packages)}"),
            *(suite, str(tree), source),
            seconds=SECONDS,
        )
        if done.returncode == 0 and _codename(tree) == CODENAME:
            return tree
        words = done.stderr.decode(errors="replace").strip().splitlines()
        reasons.append(f"{suite}: {next(iter(words), f'it is not {CODENAME}')}")
    raise CannotTell(
        f"Debian's {CODENAME} for {arch} is not available: {'; '.join(reasons)}",
        "try again later: the mirror may be in the middle of a sync",
    )


def _codename(tree: Path) -> str:
    """Return what a tree's base-files says of its release."""
    for line in (tree / "etc" / "os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2]
    return ""


def make_image(tree: Path, image: Path, size: str, block: int | None = None) -> None:
    """Copy a tree into a new ext2 image (sparse), which drivers of ext4 mount as well.

    Args:
        size: as mke2fs takes it ("1G").
        block: bytes of a block, None for mke2fs's own choice.

    Raises:
        Missing: no mke2fs.
        CannotTell: the tree does not fit.
    """
    # No journal: nothing is to survive.
    options: tuple[str, ...] = ("-q", "-t", "ext2", "-E", "root_owner=0:0", "-m", "0")
    if block is not None:
        options += ("-b", str(block))
    host.output("mke2fs", *options, "-d", str(tree), str(image), size)
