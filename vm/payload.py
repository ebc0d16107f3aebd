"""The second disk of a live guest: this checkout, Python packages, probe plans."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from vm import guestpython
from vm.trees import make_image
from zaptrace.model.errors import Missing
from zaptrace.model.paths import cache_home, locked

ROOT = Path(__file__).parents[1]
PACKAGES = ("zaptrace", "probes", "tui", "vm")
SITE = ("textual", "pyelftools")
"""Distributions that guests have no packages of; pure Python, with what they need."""
SKIPPED = shutil.ignore_patterns("__pycache__", ".*")


def make(image: Path, plans: Path, files: Mapping[str, Path] | None = None) -> None:
    """Write the disk's image.

    Args:
        plans: the folder that keeps probe plans, copied whole.
        files: name -> a program or file that shall lie in the disk's `files`.

    Raises:
        Missing, CannotTell: no mke2fs, or a distribution of SITE is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="zaptrace-", dir=image.parent) as folder:
        tree = Path(folder)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, tree / "checkout" / package, ignore=SKIPPED)
        guestpython.compile_all(tree, "checkout", mounted="/zaptrace")
        shutil.copytree(_site(), tree / "site")
        shutil.copytree(plans, tree / "plans")
        (tree / "files").mkdir()
        for name, path in (files or {}).items():
            shutil.copy(path, tree / "files" / name)
        make_image(tree, image, f"{_kib(tree) * 5 // 4 + 8192}K")


def _kib(tree: Path) -> int:
    return sum(path.stat().st_blocks for path in tree.rglob("*")) // 2


def _site() -> Path:
    """A folder of the distributions of SITE and all that they need, compiled; made once."""
    wanted = sorted(_closure(SITE), key=lambda one: str(one.metadata["Name"]))
    key = hashlib.sha256(
        " ".join(f"{one.metadata['Name']} {one.version}" for one in wanted).encode()
    )
    folder = cache_home() / "guestsite" / key.hexdigest()[:16]
    with locked(folder.parent / ".lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix=".building-", dir=folder.parent) as work:
                tree = Path(work) / "tree"
                for one in wanted:
                    _copy(one, tree / "site")
                guestpython.compile_all(tree, "site", mounted="/zaptrace")
                (tree / "site").rename(folder)
    return folder


def _closure(names: tuple[str, ...]) -> Iterator[importlib.metadata.Distribution]:
    """Distributions and what they require here."""
    seen: set[str] = set()
    ahead = [(name, False) for name in names]
    while ahead:
        name, conditional = ahead.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if conditional:  # on an extra, a platform, a version: not on ours
                continue
            raise Missing(f"the Python package {name} is not installed", "make setup") from None
        yield found
        for line in found.requires or ():
            requirement, _, condition = line.partition(";")
            needed = re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]
            if "extra" not in condition:
                ahead.append((needed.lower().replace("_", "-"), bool(condition)))


def _copy(distribution: importlib.metadata.Distribution, site: Path) -> None:
    """Its files but for programs, compiled code and whatever lies outside."""
    for file in distribution.files or ():
        if ".." not in file.parts and file.suffix not in (".pyc", ".so"):
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), target)
