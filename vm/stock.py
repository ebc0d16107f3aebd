"""Stock kernels: those of Debian's packages, of which only what a guest needs is kept.

One lies in the cache by its release, made beside its place and renamed when
whole.  Its packages are removed once unpacked.
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vm import debian, host, modules
from vm.lab_kernel import Kernel
from zaptrace.arch import Arch
from zaptrace.model.errors import BadInput, CannotTell, Missing
from zaptrace.model.paths import cache_home, locked
from zaptrace.model.progress import Listener, step


@dataclass(frozen=True, slots=True)
class Suite:
    """A Debian release as kernels are taken from it.

    Attributes:
        codename: what its index must say that it is.
        names: what a mirror may call it; one in the middle of a sync may have only one whole.
    """

    codename: str
    names: tuple[str, ...]


SUITES = {
    "12": Suite("bookworm", ("bookworm", "oldstable")),
    "13": Suite("trixie", ("trixie", "stable")),
    "13-backports": Suite("trixie-backports", ("trixie-backports", "stable-backports")),
}
_PARTS = ("linux-binary-", "linux-modules-", "linux-base-")
"""What newer packages are divided into; linux-image-* depends on them and is empty."""
_ABSENT = tuple(f"<{part}" for part in _PARTS)
"""Such a part that is gone from the index, as apt prints it: backports keep the image longer."""


@dataclass(frozen=True, slots=True)
class StockKernel(Kernel):
    """A stock kernel's files; `vmlinux` is there when debug symbols were fetched."""

    @property
    def release(self) -> str:
        """Its `uname -r`."""
        return str(json.loads((self.folder / "facts.json").read_bytes())["release"])

    @property
    def modules(self) -> list[Path]:
        """What must be loaded for disks and ports, in this order."""
        return sorted((self.folder / "modules").glob("*.ko"))

    @property
    def system_map(self) -> Path:
        """Its symbols; there when debug symbols were fetched."""
        return self.folder / "System.map"


def fetch(
    suite: str, arch: Arch, listener: Listener, version: str = "", *, debug: bool = False
) -> StockKernel:
    """Return the newest kernel of a Debian release, from the mirror and then from the cache.

    A mirror's index may be ahead of its packages: then it is the newest that can be had.

    Args:
        suite: one of SUITES, or its codename.
        version: what its release must begin with ("6.12.107").
        debug: also its vmlinux with debug symbols (300 MB and more).

    Raises:
        BadInput: there is no such suite, or no such version in it.
        Missing: the host has no apt, or apt knows no Debian mirror.
        CannotTell: the mirror does not have it whole.
    """
    with locked(cache_home() / "stock-debs" / ".lock"):
        with step("index", "Look what kernels there are", listener) as current:
            apt = _index(_suite(suite), arch)
            releases = _newest_first(apt, arch.stock_flavour, version, suite)
            current.note = releases[0]
        kernel = _first_that_is_had(apt, arch, releases, listener)
        if debug and not kernel.vmlinux.exists():
            with step("debug", f"Fetch the debug symbols of {kernel.release}", listener):
                _add_symbols(kernel, apt, kernel.release)
    return kernel


def find(arch: Arch, name: str) -> StockKernel:
    """Return a kernel that was fetched.

    Args:
        name: its folder, or what its release begins with.

    Raises:
        Missing: no such kernel.
    """
    folder = Path(name)
    if (folder / "facts.json").is_file() and (folder / "image").is_file():
        return StockKernel(folder.absolute())
    start = _place(arch, "")
    found = [
        path
        for path in start.parent.glob(f"{start.name}*")
        if name and _begins(path.name.removeprefix(start.name), name)
    ]
    if not found:
        raise Missing(
            f"no stock kernel {name} for {arch.name} is kept",
            f"zaptrace vm kernel fetch 13 {arch.name}",
        )
    return StockKernel(max(found, key=_natural))


def _suite(name: str) -> Suite:
    by_codename = {suite.codename: suite for suite in SUITES.values()}
    try:
        return (SUITES | by_codename)[name]
    except KeyError:
        raise BadInput(f"no suite is called {name!r}", f"use one of: {', '.join(SUITES)}") from None


def _place(arch: Arch, release: str) -> Path:
    return cache_home() / "kernels" / f"{arch.name}-stock-{release}"


def _index(suite: Suite, arch: Arch) -> debian.Apt:
    """Return apt with the suite's index, by the first of its names that the mirror has whole."""
    reasons = []
    for name in suite.names:
        apt = debian.Apt(name, arch.debian, cache_home() / "stock-debs" / f"{name}-{arch.debian}")
        try:
            apt.update()
        except CannotTell as error:
            reasons.append(f"{name}: {error}")
            continue
        if (codename := apt.codename()) == suite.codename:
            return apt
        reasons.append(f"{name}: it is {codename or 'nothing'}")
    raise CannotTell(
        f"Debian's {suite.codename} for {arch.name} is not available: {'; '.join(reasons)}",
        "try again later: the mirror may be in the middle of a sync",
    )


def _newest_first(apt: debian.Apt, flavour: str, version: str, suite: str) -> list[str]:
    """Return the releases of the kernels that are whole in the index; there is one at least."""
    form = re.compile(rf"linux-image-(\d.*-{re.escape(flavour)})")
    found = (form.fullmatch(name) for name in apt.names("linux-image-"))
    releases = sorted((one[1] for one in found if one and _begins(one[1], version)), key=_natural)
    whole = [
        release
        for release in reversed(releases)
        if not any(name.startswith(_ABSENT) for name in apt.depends(f"linux-image-{release}"))
    ]
    if not whole:
        wanted = f" {version}" if version else ""
        raise BadInput(f"{suite} has no whole kernel{wanted} of the flavour {flavour}")
    return whole


def _first_that_is_had(
    apt: debian.Apt, arch: Arch, releases: list[str], listener: Listener
) -> StockKernel:
    """Return the first of some kernels that is kept or that the mirror hands out."""
    refusals = []
    for release in releases:
        kernel = StockKernel(_place(arch, release))
        try:
            if not kernel.image.exists():
                with step("fetch", f"Fetch {release}", listener) as current:
                    try:
                        _make(kernel, apt, arch, release)
                    except CannotTell as error:
                        current.note = str(error)
                        raise
        except CannotTell as error:
            refusals.append(error)
            continue
        return kernel
    raise refusals[0]


def _begins(release: str, version: str) -> bool:
    """Return whether a release is one of a version: 6.12.107 is not one of 6.1."""
    return release.startswith(version) and not (
        version and version[-1].isdigit() and release[len(version) :][:1].isdigit()
    )


def _natural(name: str | Path) -> list[tuple[int, str]]:
    """Sort key: 6.12.107 is newer than 6.12.94."""
    return [
        (int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", str(name))
    ]


def _make(kernel: StockKernel, apt: debian.Apt, arch: Arch, release: str) -> None:
    """Unpack what is wanted into a kernel's place."""
    parts = [f"linux-image-{release}"]
    parts += [name for name in apt.depends(parts[0]) if name.startswith(_PARTS)]
    kernel.folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".stock-", dir=kernel.folder.parent) as scratch:
        whole = Path(scratch) / "kernel"
        (whole / "modules").mkdir(parents=True)
        found: dict[str, bytes] = {}
        builtin: list[str] = []
        for path, file in _files(apt, parts):
            if name := _kept(path, release, {"vmlinuz": "image", "config": "config"}):
                (whole / name).write_bytes(file.read())
            elif path.endswith("/modules.builtin"):
                builtin += [modules.name_of(line) for line in file.read().decode().split()]
            elif modules.MODULE.search(path):
                found[modules.name_of(path)] = modules.unpacked(path, file.read())
        for number, name in enumerate(modules.in_order(found, builtin)):
            (whole / "modules" / f"{number:02}-{name}.ko").write_bytes(found[name])
        if not (whole / "image").exists():
            raise CannotTell(f"{' '.join(parts)} hold no kernel image")
        facts = {"release": release, "arch": arch.name, "packages": parts}
        (whole / "facts.json").write_text(json.dumps(facts))
        whole.rename(kernel.folder)


def _add_symbols(kernel: StockKernel, apt: debian.Apt, release: str) -> None:
    """Add vmlinux with debug symbols and System.map, beside the rest."""
    with tempfile.TemporaryDirectory(prefix=".stock-", dir=kernel.folder.parent) as scratch:
        whole = Path(scratch)
        wanted = {"vmlinux": "vmlinux", "System.map": "System.map"}
        for path, file in _files(apt, [f"linux-image-{release}-dbg"]):
            if name := _kept(path, release, wanted):
                with (whole / name).open("wb") as copy:
                    shutil.copyfileobj(file, copy)
        if not (whole / "vmlinux").exists():
            raise CannotTell(f"linux-image-{release}-dbg holds no vmlinux")
        for made in sorted(whole.iterdir()):  # System.map first: vmlinux says that all is there
            made.rename(kernel.folder / made.name)


def _kept(path: str, release: str, wanted: dict[str, str]) -> str | None:
    """Return the name under which a package's file is kept, None when it is not wanted.

    Args:
        wanted: what the file is ("vmlinuz") -> the name.
    """
    for what, name in wanted.items():
        # The kernel's own folder: packages since 7.0.
        if path.endswith((f"/boot/{what}-{release}", f"/modules/{release}/{what}")):
            return name
    return None


def _files(apt: debian.Apt, packages: list[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield path and content of each regular file of packages; fetch and remove them."""
    for package in packages:
        deb = apt.download(package)
        try:
            with (
                host.lines_of(["dpkg-deb", "--fsys-tarfile", str(deb)]) as unpacking,
                tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive,
            ):
                for entry in archive:
                    if entry.isfile() and (file := archive.extractfile(entry)) is not None:
                        yield "/" + entry.name.lstrip("./"), file
        finally:
            deb.unlink()
