"""The second disk of a live guest: this checkout, Python packages, probe plans."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vm import guestpython
from vm.package_trees import make_image
from zaptrace.model.errors import Missing
from zaptrace.model.paths import cache_home, locked

ROOT = Path(__file__).parents[1]
PACKAGES = ("zaptrace", "probes", "tui", "vm")
SITE = ("textual", "pyelftools")
"""Distributions that guests have no packages of; pure Python, with what they need."""
STEP_KIB = 64 << 10
KEPT = 16
"""Images in the cache; each of some 40 MiB."""
SKIPPED = shutil.ignore_patterns("__pycache__", ".*")


def kept(plans: Path, files: Mapping[str, Path], link: Path) -> None:
    """Have the disk's image at `link`: from the cache, or made now.

    Args:
        plans, files: see `make`.
        link: where to put it, on the cache's file system or not.

    Raises:
        Missing, CannotTell: see `make`.
    """
    image = cache_home() / "payloads" / f"{_key(plans, files)}.img"
    with locked(image.parent / ".lock"):
        if not image.exists():
            with tempfile.TemporaryDirectory(prefix=".building-", dir=image.parent) as work:
                whole = Path(work) / "image"
                make(whole, plans, files)
                whole.chmod(0o600)
                whole.rename(image)
            newest = sorted(image.parent.glob("*.img"), key=lambda one: one.stat().st_mtime)
            for old in newest[:-KEPT]:
                old.unlink()
        os.utime(image)
        try:
            link.hardlink_to(image)  # the caller thins them out next takes it from no one
        except OSError:
            shutil.copyfile(image, link)


def _key(plans: Path, files: Mapping[str, Path]) -> str:
    """Return a key of all that comes on the disk."""
    whole = hashlib.sha256(str(_site()).encode())
    trees = [(ROOT / package, package) for package in PACKAGES] + [(plans, "plans")]
    for tree, name in trees:
        for path in sorted(tree.rglob("*")):
            inside = path.relative_to(tree)
            if path.is_file() and not any(_is_skipped(part) for part in inside.parts):
                _add(whole, f"{name}/{inside}", path)
    for name, path in sorted(files.items()):
        _add(whole, f"files/{name}", path)
    return whole.hexdigest()[:32]


def _is_skipped(part: str) -> bool:
    return part == "__pycache__" or part.startswith(".")


def _add(whole: Any, name: str, path: Path) -> None:
    data = path.read_bytes()
    whole.update(f"{name} {path.stat().st_mode:o} {len(data)}\n".encode() + data)


def make(image: Path, plans: Path, files: Mapping[str, Path] | None = None) -> None:
    """Write the disk's image.

    Args:
        plans: the folder that keeps probe plans, copied whole.
        files: name -> a program or file that goes to the disk's `files`.

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
        # Of few sizes: a saved guest knows its disks' sizes.
        wanted = _kib(tree) * 5 // 4 + 8192
        make_image(tree, image, f"{-(-wanted // STEP_KIB) * STEP_KIB}K")


def _kib(tree: Path) -> int:
    return sum(path.stat().st_blocks for path in tree.rglob("*")) // 2


def _site() -> Path:
    """Return a folder of the distributions of SITE and all that they need, compiled; made once."""
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
    """Yield distributions and what they require here."""
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
    """Copy its files but for programs, compiled code and whatever lies outside."""
    for file in distribution.files or ():
        if ".." not in file.parts and file.suffix not in (".pyc", ".so"):
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), target)
